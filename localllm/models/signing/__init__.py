"""Signatures of models: whether the files are those that a trusted publisher signed."""
