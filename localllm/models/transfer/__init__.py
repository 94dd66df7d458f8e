"""Bytes of one file from one address to a verified part file: parallel, resumable, checked."""
