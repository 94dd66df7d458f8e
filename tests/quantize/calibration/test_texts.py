"""The texts that models are calibrated with and evaluated on."""

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.errors import InvalidRequest
from localllm.quantize.calibration import texts
from localllm.quantize.calibration.texts import Text, both_texts, calibration_text, evaluation_text, read_text


@pytest.fixture(autouse=True)
def unread() -> Iterator[None]:
    """What is kept from one call to the next is the Python's own."""
    yield
    texts._topics.cache_clear()
    texts._default_texts.cache_clear()


def calibration(choice: str) -> Text:
    text = calibration_text(choice)
    assert text is not None
    return text


def words_of(text: str) -> set[str]:
    return {" ".join(paragraph.split()) for paragraph in text.split("\n\n")}


def test_the_default_texts_have_no_paragraph_in_common() -> None:
    first, second = calibration("default"), evaluation_text("default")
    assert words_of(first.text).isdisjoint(words_of(second.text))
    assert len(first.text) > 200_000
    assert len(second.text) > 40_000
    assert len(words_of(first.text)) > 1000


def test_the_default_texts_are_english_and_always_the_same() -> None:
    first = calibration("default")
    texts._default_texts.cache_clear()
    again = calibration("default")
    assert again.text is not first.text
    assert again == first
    assert first.text.startswith('The "assert" statement\n')
    assert first.sha256 == hashlib.sha256(first.text.encode()).hexdigest()
    assert (first.name, evaluation_text("default").name) == ("default", "default")
    assert f"Python {sys.version.split()[0]}" in first.recipe


def test_none_is_no_text() -> None:
    assert calibration_text("none") is None


@pytest.mark.parametrize("read", [calibration_text, evaluation_text])
def test_a_python_without_topics_asks_for_a_file(read: object, monkeypatch: pytest.MonkeyPatch) -> None:
    texts._topics.cache_clear()
    texts._default_texts.cache_clear()
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InvalidRequest, match="name a text file"):
        read("default")  # type: ignore[operator]


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes("Grüße\r\n\n".encode())
    assert calibration(str(path)) == Text(
        name="notes.txt",
        text="Grüße\r\n\n",
        sha256=hashlib.sha256("Grüße\r\n\n".encode()).hexdigest(),
        recipe="the file notes.txt",
    )


def test_a_file_for_both_is_cut_at_a_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    first, second = both_texts(str(path), str(path))
    assert first is not None
    assert first.text + second.text == path.read_text()
    assert second.text.startswith("line 7")
    assert len(second.text.splitlines()) == 24
    assert first.name != second.name
    assert first.sha256 != second.sha256


def test_a_copy_of_it_is_cut_too(tmp_path: Path) -> None:
    for name in ("one.txt", "other.txt"):
        (tmp_path / name).write_text("a\nb\nc\nd\n")
    first, second = both_texts(str(tmp_path / "one.txt"), str(tmp_path / "other.txt"))
    assert first is not None
    assert (first.text, second.text) == ("a\nb\nc\nd\n"[: len(first.text)], "d\n")


def test_one_long_line_is_cut_in_it(tmp_path: Path) -> None:
    (tmp_path / "line.txt").write_text("x" * 100)
    first, second = both_texts(str(tmp_path / "line.txt"), str(tmp_path / "line.txt"))
    assert first is not None
    assert (len(first.text), len(second.text)) == (75, 25)


def test_other_choices_for_both_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a\nb\nc\nd\n")
    path = str(tmp_path / "notes.txt")
    assert both_texts("none", path) == (None, evaluation_text(path))
    assert both_texts("default", path) == (calibration("default"), evaluation_text(path))
    assert both_texts("default", "default") == (calibration("default"), evaluation_text("default"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"abc\xff", r"not UTF-8 \(byte 3 is 0xff\); save it as UTF-8"),
        ("Grüße".encode("utf-16"), r"not UTF-8 \(byte 0 is 0xff\)"),
        (b"abc\xc3", r"byte 3 is 0xc3"),
        (b"\xed\xa0\x80", "byte 0 is 0xed"),
    ],
)
def test_a_file_that_is_no_text_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        calibration_text(str(tmp_path / "notes.txt"))
    assert caught.value.param == "calibrate"
    with pytest.raises(InvalidRequest, match=complaint):
        read_text(tmp_path / "notes.txt", "text")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read the text .*missing\.txt: No such file"):
        evaluation_text(str(tmp_path / "missing.txt"))
    with pytest.raises(InvalidRequest, match=r"cannot read the text .*: not a regular file; name"):
        evaluation_text(str(tmp_path))
    with pytest.raises(InvalidRequest, match="cannot read"):
        evaluation_text("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequest, match=r"cannot read the text .*: not a regular file; name"):
        calibration_text(str(tmp_path / "pipe"))


def test_far_too_long_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_TEXT_BYTES", 1000)
    (tmp_path / "long.txt").write_bytes(b"x" * 1001)
    with pytest.raises(InvalidRequest, match="longer than 1 kB"):
        calibration_text(str(tmp_path / "long.txt"))
