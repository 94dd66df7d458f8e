"""Digests and file names: what they let through, and what never gets as far as a path."""

import pytest

from localllm.errors import IntegrityError
from localllm.models.digest import Digest, Filename, is_plain

GOOD = "0123456789abcdef" * 4
UNFIT = [  # to name a file, here or elsewhere
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "C:x",
    ".hidden",
    "-rf",
    " x",
    "x ",
    "x.",
    "a\nb",
    "a\x00b",
    "a\x1b[31mb",
    "a\u202eb",  # the rest would be shown backwards
    "\ud800",
    "x" * 201,
    "é" * 101,  # 202 bytes
    "x" * 2**20,
    "a\u2028b",  # a line's end to some
    "a\u200bb",  # no width
    "file:stream",
    "\\\\server\\share",
    *("x\n", "\n", "\r", "\t", "a\x7fb", "\ufeffx", "…".join(["..", ".."]), "\uff0e\uff0e/x"),
    *(f"a{letter}b" for letter in '<>"|?*'),
    *("con", "CON", "con.gguf", "nul.tar.gz", "Aux", "prn", "COM1", "com9.gguf", "LPT0.x", "COM¹", "conout$.txt"),
    "nul .gguf",
]


def test_a_digest_is_a_string_of_64_digits() -> None:
    assert Digest(GOOD) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "-", GOOD[:-1], GOOD + "0", GOOD.upper(), "../" + GOOD[3:], "g" * 64, "sha256:" + GOOD),
        *(GOOD + "\n", "\n" + GOOD, GOOD + "\0", GOOD[:-1] + "\0", " " + GOOD[1:], GOOD + "/../x", "0" * 2**20),
        *("٠" * 64, "０" * 64, "¹" * 64),  # digits elsewhere
    ],
)
def test_nothing_else_is_a_digest(text: str) -> None:
    with pytest.raises(IntegrityError, match="not a SHA-256 digest"):
        Digest(text)


@pytest.mark.parametrize("text", ["tiny.Q4_0.gguf", "a", "x" * 200, "über größe.gguf", "console.gguf", "com10", "a..b"])
def test_a_file_name(text: str) -> None:
    assert Filename(text) == text


@pytest.mark.parametrize("text", UNFIT)
def test_unfit_file_names_are_refused(text: str) -> None:
    with pytest.raises(IntegrityError, match="not a plain file name"):
        Filename(text)


def test_what_is_refused_is_quoted_in_part_and_harmless() -> None:
    with pytest.raises(IntegrityError) as caught:
        Filename("\x1b" + "x" * 10_000)
    assert len(caught.value.message) < 150
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("text", UNFIT)
def test_asking_is_as_strict(text: str) -> None:
    assert not is_plain(text)
