"""Measuring: a model on this machine, or OpenAI-compatible servers against each other."""
