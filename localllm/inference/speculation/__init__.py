"""Guessing ahead: tokens that the model then confirms several at a time."""
