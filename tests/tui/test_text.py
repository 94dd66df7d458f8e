"""Model text made safe to show."""

import random

import pytest

from localllm.tui.text import MOST_STRING, Cleaner, clean
from tests.tui.cuts import random_cuts, random_text

FRAGMENTS = [
    *("word", "é", "🙂", "[b]", "\n", "\r", "\r\n", "\t", " ", "1", ";", "m", "\\", "("),
    *("\x1b", "\x1b[", "\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1bP1$q", "\x07", "\x1b(B"),
    *("\x9b", "\x85", "\x00", "\x7f", "\ud800", "\u202e", "\u2066", "\u2028", "\ufeff", "0" * 70, "x" * MOST_STRING),
]


def cleaned(parts: list[str]) -> str:
    cleaner = Cleaner()
    return "".join(map(cleaner.feed, parts)) + cleaner.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 🙂 [b]\ttab\n", "plain é 🙂 [b]\ttab\n"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1bP1$q\x1b\\b", "ab"),
        ("a\x1b(Bb\x1b7c\x1bcd", "abcd"),
        ("one\r\ntwo", "one\ntwo"),
        ("one\rtwo", "onetwo"),
        ("a\x9b31mb", "a31mb"),
        ("a\x85b\u2028c\x0bd", "a\nb\nc\nd"),
        ("a\x00\x07\x08\x7fb", "ab"),
        ("a\ud800b", "a\ufffdb"),
        ("a\u202eb\u2066c\u200fd", "abc\u200fd"),
        ("half\x1b[3", "half[3"),
        ("\x1b]0;never ended\nnext", "0;never ended\nnext"),
    ],
)
def test_what_may_not_reach_the_terminal_goes_and_the_rest_stays(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\x1b]0;title\x07b", "a\x1b]8;;x\x1b\\b", "a\x1bPq\x1b\\b", "a\r\nb"])
def test_a_sequence_may_be_cut_anywhere(text: str) -> None:
    for place in range(len(text) + 1):
        assert cleaned([text[:place], text[place:]]) == clean(text)
    assert cleaned(list(text)) == clean(text)


def test_the_result_does_not_depend_on_where_the_text_is_cut() -> None:
    for seed in range(1000):
        chance = random.Random(seed)
        text = random_text(chance, FRAGMENTS, 12)
        assert cleaned(random_cuts(chance, text)) == clean(text), (seed, text)


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    for seed in range(1000):
        left = clean(random_text(random.Random(seed), FRAGMENTS, 20))
        assert not [char for char in left if (ord(char) < 32 and char not in "\t\n") or 0x7F <= ord(char) < 0xA0], seed
        left.encode()  # no surrogates


def test_a_string_that_never_ends_is_not_waited_for() -> None:
    cleaner = Cleaner()
    shown = "".join(cleaner.feed(part) for part in ["\x1b]", *"x" * (MOST_STRING + 10)])
    assert shown == "x" * (MOST_STRING + 10)


def test_plain_text_is_shown_at_once() -> None:
    assert Cleaner().feed("a wor") == "a wor"
