"""Single files of other programs: read as far as asked, and whatever is wrong is one printable line."""

import os
from pathlib import Path

import pytest
from msgspec import Struct

from localllm.errors import LoadFailed, ModelError
from localllm.models.scan.foreign_file import TROUBLE, look_at, reason_of, small_file, small_json
from tests.models.scan.trees import write


class Content(Struct):
    name: str


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModelError("red \x1b[31m and\nnew lines"), "red ?[31m and?new lines"),
        (ModelError("x" * 1000), "x" * 300),
        (PermissionError(13, "Permission denied", "/secret/place"), "it cannot be read: Permission denied"),
        (OSError("no number"), "it cannot be read: no number"),
        (ValueError("embedded null byte"), "it cannot be used: embedded null byte"),
    ],
)
def test_a_reason_is_one_printable_line_without_the_path(error: Exception, words: str) -> None:
    assert reason_of(error) == words


def test_a_small_file_is_read_whole_and_a_larger_one_not_at_all(tmp_path: Path) -> None:
    path = write(tmp_path / "file", b"12345")
    assert small_file(path, 5) == b"12345"
    with pytest.raises(ModelError, match="5 bytes"):
        small_file(path, 4)


def test_json_is_of_the_kind_asked_for(tmp_path: Path) -> None:
    assert small_json(write(tmp_path / "good", b'{"name": "a", "more": []}'), 100, Content) == Content("a")
    for data in (b"", b"{}", b'{"name": 1}', b'{"name": "\xff"}', b'{"name": "\\ud800"}'):
        with pytest.raises(ModelError, match="JSON"):
            small_json(write(tmp_path / "bad", data), 100, Content)


@pytest.mark.parametrize("path", [Path("gone"), Path("a\0b"), Path("x" * 5000), Path("file/below")])
def test_what_cannot_be_opened_is_trouble(tmp_path: Path, path: Path) -> None:
    write(tmp_path / "file", b"GGUF")
    with pytest.raises(TROUBLE):
        look_at(tmp_path / path)


@pytest.mark.skipif(os.name == "nt", reason="needs devices")
def test_devices_are_not_opened() -> None:
    with pytest.raises(LoadFailed, match="regular"):
        look_at(Path(os.devnull))
