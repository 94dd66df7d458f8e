"""Counts, times and strangers' text in words that are fit for a terminal."""

from datetime import datetime

_STEPS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))


def count_words(count: int) -> str:
    """A large number to three digits: 107 thousand, 135 million, 4.02 billion."""
    for step, name in _STEPS:
        if count >= step:
            value = count / step
            return f"{value:.{max(0, 3 - len(str(int(value))))}f} {name}"
    return str(count)


def time_words(unix_seconds: int) -> str:
    """A moment, in the time of this place."""
    return datetime.fromtimestamp(unix_seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def printable(text: str) -> str:
    """One line that cannot drive a terminal: what does not print is escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
