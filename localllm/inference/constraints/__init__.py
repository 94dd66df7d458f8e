"""Grammars that an answer must match, compiled by llguidance and enforced token by token."""
