"""Prompts of a wanted length that no cache has seen before."""

import random

_TEXT = (
    "the river carried small boats past quiet stone houses where people were cooking supper and talking about "
    "weather market prices school lessons broken wheels new roofs distant cities old songs summer gardens winter "
    "coats careful plans lost letters bright lamps slow trains and good bread"
)
_WORDS = _TEXT.split()
_TASKS = (
    "Write a long detailed story about a sailor.",
    "Explain how bread is made, step by step, in great detail.",
    "Describe a city in the mountains at great length.",
    "Give a long list of ideas for a school garden and explain each.",
)
_TOKENS_PER_WORD = 1.08  # measured on the starter model's tokenizer


def filler(source: random.Random, tokens: int) -> str:
    """About `tokens` tokens of plain English, begun by a number nobody has used."""
    words = (source.choice(_WORDS) for _ in range(round(tokens / _TOKENS_PER_WORD)))
    return f"{source.getrandbits(32):08x} {' '.join(words)}."


def task(source: random.Random, tokens: int) -> str:
    """A prompt of about `tokens` tokens that asks for a long answer."""
    return f"{filler(source, tokens)} {source.choice(_TASKS)}"
