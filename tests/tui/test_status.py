"""What of the status line fits, and when it warns."""

import pytest

from localllm.tui.status import Part, context_part, fitting

PARTS = [Part(0, "answering"), Part(2, "model"), Part(5, "engine/cpu"), Part(1, "context 1/9"), Part(3, "9 tok/s")]


def texts(width: int) -> list[str]:
    return [part.text for part in fitting(PARTS, width)]


def test_everything_shows_where_there_is_room() -> None:
    assert texts(100) == [part.text for part in PARTS]


def test_the_least_important_goes_first_and_the_order_stays() -> None:
    assert texts(44) == ["answering", "model", "context 1/9", "9 tok/s"]
    assert texts(40) == ["answering", "model", "context 1/9"]
    assert texts(24) == ["answering", "context 1/9"]


def test_one_part_always_stays() -> None:
    assert texts(3) == ["answering"]


def test_wide_characters_count_twice() -> None:
    parts = [Part(0, "模型"), Part(1, "ab")]
    assert len(fitting(parts, 9)) == 2
    assert len(fitting(parts, 8)) == 1


@pytest.mark.parametrize(
    ("used", "size", "expected"),
    [
        (0, 512, "context 0/512 (0%)"),
        (999, 8192, "context 999/8.2k (12%)"),
        (3100, 8192, "context 3.1k/8.2k (38%)"),
        (799, 1000, "context 799/1.0k (80%)"),
    ],
)
def test_how_full_the_context_is(used: int, size: int, expected: str) -> None:
    part = context_part(used, size)
    assert part.text == expected
    assert part.style == ""


def test_a_nearly_full_context_says_what_to_do() -> None:
    part = context_part(800, 1000)
    assert part.text == "context 80% full, /clear starts anew"
    assert "warning" in part.style
