"""Tables, sizes and words, as people read them and scripts cut them."""

import pytest

from localllm.cli.table import print_fields, print_table
from localllm.cli.words import count_words, printable


def test_columns_stand_below_their_headings(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        ("NAME", "SIZE", "NOTE", "STATE"), [("a", "10 MB", "", "here"), ("long:name", "1 GB", "", "")], numbers=["SIZE"]
    )
    assert capsys.readouterr().out == "NAME        SIZE  STATE\na          10 MB  here\nlong:name   1 GB\n"


def test_wide_letters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [("模型", "x"), ("abcd", "y")])
    assert capsys.readouterr().out == "A     B\n模型  x\nabcd  y\n"


def test_what_would_drive_the_terminal_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A",), [("\x1b[2J\n",)])
    print_fields([("a", "\x07"), ("b", ""), ("", "below")])
    assert capsys.readouterr().out == "A\n\\x1b[2J\\n\na             \\x07\n              below\n"
    assert printable("größer – 模型") == "größer – 模型"
    assert printable("\udcff") == "\\udcff"


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00 thousand"),
        (107_200, "107 thousand"),
        (134_515_008, "135 million"),
        (4_022_468_096, "4.02 billion"),
        (1_000_000_000_000, "1.00 trillion"),
    ],
)
def test_counts(count: int, words: str) -> None:
    assert count_words(count) == words
