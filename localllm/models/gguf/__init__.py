"""GGUF files: their headers checked in Python before anything native sees them, and what the headers say of a model."""
