"""Digests, file names and model names: what they let through, and what never gets as far as a path."""

import pytest

from localllm.errors import IntegrityError
from localllm.models.digest import Digest, Filename, is_model_name

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
    *(f"a{letter}b" for letter in '<>"|?*'),
    *("con", "CON", "con.gguf", "nul.tar.gz", "Aux", "prn", "COM1", "com9.gguf", "LPT0.x", "COM¹", "conout$.txt"),
    "nul .gguf",
]


def test_a_digest_is_a_string_of_64_digits() -> None:
    assert Digest(GOOD) == GOOD


@pytest.mark.parametrize("text", ["", GOOD[:-1], GOOD + "0", GOOD.upper(), GOOD + "\n", "../" + GOOD[3:], "g" * 64])
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


@pytest.mark.parametrize("text", ["smollm2:135m", "a:b", "llama-3.2_x:1b-q4", f"{'x' * 64}:{'y' * 64}"])
def test_a_model_name(text: str) -> None:
    assert is_model_name(text)


@pytest.mark.parametrize(
    "text",
    [
        *UNFIT,
        *(f"{part}:tag" for part in UNFIT),
        *(f"tiny:{part}" for part in UNFIT),
        *("tiny", ":", "tiny:", ":1m", "a:b:c", "Tiny:1m", "tiny:1M", "tiny :1m", "tiny:1m\n", "größe:1m"),
        *(f"{'x' * 65}:1m", f"tiny:{'x' * 65}"),
    ],
)
def test_nothing_else_is_a_model_name(text: str) -> None:
    assert not is_model_name(text)
