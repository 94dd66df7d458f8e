"""Cuts texts into parts, the way deltas come."""

import random
from collections.abc import Sequence


def random_text(chance: random.Random, fragments: Sequence[str], most: int) -> str:
    """Some of the fragments in some order."""
    return "".join(chance.choices(fragments, k=chance.randint(1, most)))


def random_cuts(chance: random.Random, text: str) -> list[str]:
    """The same text in parts of one to nine characters."""
    parts = []
    while text:
        size = chance.randint(1, 9)
        parts.append(text[:size])
        text = text[size:]
    return parts
