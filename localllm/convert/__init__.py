"""Turning checkpoints into GGUF files."""
