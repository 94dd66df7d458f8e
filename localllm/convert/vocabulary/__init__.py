"""Vocabularies of checkpoints."""
