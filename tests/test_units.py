"""Sizes in words."""

import pytest

from localllm.units import size_words


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 kB"),
        (1, "1 kB"),
        (999_499, "1000 kB"),
        (999_500, "1 MB"),
        (98_362_432, "98 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1.0 GB"),
        (5_027_000_000, "5.0 GB"),
    ],
)
def test_a_size_in_words(size_bytes: int, words: str) -> None:
    assert size_words(size_bytes) == words
