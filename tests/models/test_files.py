"""Durable files: the old one or the new one, never half of either."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.errors import ModelError, NoRoom
from localllm.models.files import (
    NotRegular,
    bytes_on_disk,
    disk_errors,
    make_folder,
    move_durably,
    names_in,
    open_regular,
    read_small,
    write_durably,
)

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX folders")


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is done to the disk, in order, and to what: fsync is of a descriptor, named by what it has open."""
    calls: list[tuple[str, str]] = []

    def noting(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(what: str | Path | int, *more: object) -> object:
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
            calls.append((name, os.path.basename(path)))
            return real(what, *more)

        return call

    for name in ("write", "fsync", "replace", "mkdir"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    return calls


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_file_is_synced_before_it_is_moved_and_its_folder_after(
    tmp_path: Path, record: list[tuple[str, str]]
) -> None:
    write_durably(tmp_path / "x.json", b"data")
    part = f"x.json.{os.getpid()}.part"
    assert record == [("write", part), ("fsync", part), ("replace", part), ("fsync", tmp_path.name)]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_each_new_folder_is_made_to_last(tmp_path: Path, record: list[tuple[str, str]]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert record == [("mkdir", "a"), ("fsync", tmp_path.name), ("mkdir", "b"), ("fsync", "a")]
    record.clear()
    make_folder(tmp_path / "a" / "b")
    assert record == []


def test_a_write_that_the_system_does_in_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:3])))
    write_durably(tmp_path / "x", b"0123456789")
    assert read_small(tmp_path / "x") == b"0123456789"


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f"x.{os.getpid()}.part").write_bytes(b"half")
    write_durably(tmp_path / "x", b"whole")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"whole"}


def test_an_interrupt_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_durably(tmp_path / "x", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_has_nothing_in_it(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")
    (tmp_path / "a").write_text("x")
    assert names_in(tmp_path) == ["a", "b"]
    assert names_in(tmp_path / "none") == []
    assert names_in(tmp_path / "a" / "below") == []


def test_a_folder_is_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x").write_bytes(b"x" * 10_000)
    assert 10_000 <= bytes_on_disk(tmp_path) < 20_000
    assert bytes_on_disk(tmp_path / "none") == 0


@POSIX
def test_links_are_not_followed_when_counting(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 100_000)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").symlink_to(tmp_path / "big")
    (folder / "itself").symlink_to(folder)
    assert bytes_on_disk(folder) < 20_000


@pytest.mark.parametrize(("number", "kind"), [("ENOSPC", NoRoom), ("EDQUOT", NoRoom), ("EIO", ModelError)])
def test_errors_of_the_system_say_what_could_not_be_done(number: str, kind: type[ModelError]) -> None:
    code = getattr(errno, number)
    with (
        pytest.raises(ModelError, match=f"cannot write the moon: .*{os.strerror(code)}") as caught,
        disk_errors("write the moon"),
    ):
        raise OSError(code, os.strerror(code))
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, OSError)


def test_a_move_replaces_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    move_durably(tmp_path / "new", tmp_path / "old")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old": b"new"}


@POSIX
def test_a_regular_file_is_opened_to_be_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one\r\ntwo\n")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with os.fdopen(open_regular(tmp_path / name), "rb") as file:
            assert file.read() == b"one\r\ntwo\n"


@POSIX
@pytest.mark.parametrize("made_by", ["folder", "pipe", "device", "link to a folder"])
def test_nothing_but_a_regular_file_is_opened_and_nothing_stays_open(tmp_path: Path, made_by: str) -> None:
    path = tmp_path / "path"
    match made_by:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/null")
        case _:
            path.symlink_to(tmp_path)
    with pytest.raises(NotRegular, match="not a regular file"):
        open_regular(path)
    with pytest.raises(NotRegular, match="not a regular file"):
        read_small(path)


@POSIX
def test_what_takes_the_place_of_a_file_meanwhile_is_closed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "path"
    path.touch()
    opened: list[int] = []
    real_open = os.open

    def late(path: Path, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        opened.append(real_open(path, flags))
        return opened[-1]

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(NotRegular):
        open_regular(path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_what_is_missing_or_has_no_possible_name_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")
    with pytest.raises(ValueError, match="null"):
        open_regular(tmp_path / "a\0b")
