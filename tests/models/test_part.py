"""Part files: going on where an attempt stopped, and never keeping what is wrong."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from localllm.errors import IntegrityError
from localllm.models.digest import Digest
from localllm.models.part import PartFile

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions and links")
DATA = b"GGUF" + bytes(range(256)) * 10
DIGEST = Digest(hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.part"


def part_file(path: Path) -> PartFile:
    return PartFile(path, DIGEST, len(DATA))


def test_all_at_once(path: Path) -> None:
    with part_file(path) as part:
        assert (part.size_bytes, part.is_full, part.is_complete) == (0, False, False)
        part.write(DATA)
        assert part.is_complete
        part.finish()
        assert path.read_bytes() == DATA


def test_in_two_attempts(path: Path) -> None:
    with part_file(path) as part:
        part.write(DATA[:1000])
    with part_file(path) as part:
        assert (part.size_bytes, part.is_full) == (1000, False)
        part.write(DATA[1000:])
        part.finish()
    assert path.read_bytes() == DATA


def test_an_attempt_that_only_missed_the_end_is_complete(path: Path) -> None:
    path.write_bytes(DATA)
    with part_file(path) as part:
        assert part.is_complete
        part.finish()


@pytest.mark.parametrize("left", [b"x" * len(DATA), DATA + b"x", DATA[1:] + DATA])
def test_leftovers_that_can_never_be_right_are_dropped(path: Path, left: bytes) -> None:
    path.write_bytes(left)
    with part_file(path) as part:
        assert (part.size_bytes, part.is_full) == (0, False)
        part.write(DATA)
        part.finish()
    assert path.read_bytes() == DATA


def test_wrong_bytes_are_dropped_at_the_end(path: Path) -> None:
    with part_file(path) as part:
        part.write(b"x" * len(DATA))
        assert part.is_full
        with pytest.raises(IntegrityError, match=f"expected SHA-256 {DIGEST}, got "):
            part.finish()
        assert part.size_bytes == 0
        part.write(DATA)  # the next source may do better
        part.finish()
    assert path.read_bytes() == DATA


def test_wrong_bytes_of_an_earlier_attempt_are_dropped_with_the_rest(path: Path) -> None:
    path.write_bytes(b"x" * 1000)
    with part_file(path) as part:
        part.write(DATA[1000:])
        with pytest.raises(IntegrityError, match="do not match"):
            part.finish()
    assert path.read_bytes() == b""


def test_too_many_bytes_are_refused_before_they_are_written(path: Path) -> None:
    with part_file(path) as part:
        part.write(DATA)
        with pytest.raises(IntegrityError, match=f"more than the {len(DATA)} bytes"):
            part.write(b"x")
        assert part.size_bytes == 0
    assert path.read_bytes() == b""


def test_an_early_end_is_an_error_that_keeps_the_bytes(path: Path) -> None:
    with part_file(path) as part:
        part.write(DATA[:10])
        with pytest.raises(IntegrityError, match=f"after 10 of {len(DATA)} bytes"):
            part.finish()
    assert path.read_bytes() == DATA[:10]


def test_starting_over(path: Path) -> None:
    with part_file(path) as part:
        part.write(b"x" * 100)
        part.restart()
        part.write(DATA)
        part.finish()
    assert path.read_bytes() == DATA


@POSIX
def test_a_planted_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    path.symlink_to(target)
    with pytest.raises(OSError, match=r"[Ll]ink"), part_file(path):
        pass
    assert target.read_bytes() == b"precious"


@POSIX
def test_a_part_is_this_users_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with part_file(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)
