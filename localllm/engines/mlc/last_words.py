"""What a program of MLC said at last, as far as it helps."""

from collections.abc import Iterable

_LINES = 12
_MOST_CHARACTERS = 800
_OF_TRACEBACKS = ("Traceback ", " ", "\t", "^")


def last_words(lines: Iterable[bytes]) -> str:
    """The last lines in one, without the places in Python's code that an error came by."""
    texts = [line.decode("utf-8", "replace").rstrip() for line in lines]
    told = [text.strip() for text in texts if text.strip() and not text.startswith(_OF_TRACEBACKS)]
    return " | ".join("".join(filter(str.isprintable, text)) for text in told[-_LINES:])[-_MOST_CHARACTERS:]
