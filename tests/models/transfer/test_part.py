"""Part files: filled in any order, taken up where an attempt stopped, and never keeping what is wrong."""

import hashlib
import os
import stat
import struct
import threading
from pathlib import Path

import pytest

from localllm.errors import IntegrityError, ModelError
from localllm.models.digest import Digest
from localllm.models.transfer import flusher
from localllm.models.transfer.expected import Expected
from localllm.models.transfer.journal import map_path, usual_segment_bytes
from localllm.models.transfer.part import PartFile
from tests.models.transfer.transfers import expected_of, random_bytes

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions and links")
SEGMENT = 1000
DATA = random_bytes(2560)
GIT_SHA1 = hashlib.sha1(b"blob 2560\0" + DATA).hexdigest()


def part_file(path: Path, expected: Expected | None = None) -> PartFile:
    return PartFile(path, expected or expected_of(DATA), segment_bytes=SEGMENT)


def fill(part: PartFile, *segments: int) -> None:
    for segment in segments:
        missing = part.missing(segment)
        part.append(segment, DATA[missing.start : missing.stop])


def test_all_at_once(path: Path) -> None:
    with part_file(path) as part:
        assert (part.size_bytes, part.is_full, part.is_complete) == (0, False, False)
        part.write(DATA)
        assert part.is_complete
        assert part.finish() == part.finish() == expected_of(DATA).sha256
    assert path.read_bytes() == DATA


def test_segments_in_any_order(path: Path) -> None:
    with part_file(path) as part:
        assert [part.missing(segment) for segment in range(part.segment_count)] == [
            range(1000),
            range(1000, 2000),
            range(2000, 2560),
        ]
        fill(part, 2, 0, 1)
        part.finish()
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("is_in_order", [True, False])
def test_in_two_attempts(path: Path, is_in_order: bool) -> None:
    with part_file(path) as part:
        part.append(0 if is_in_order else 1, DATA[:300] if is_in_order else DATA[1000:1300])
        assert PartFile.done_bytes(path) == 300
    with part_file(path) as part:
        assert (part.size_bytes, part.is_full) == (300, False)
        fill(part, 0, 1, 2)
        part.finish()
    assert path.read_bytes() == DATA


def test_the_sequential_way_fills_gaps_only(path: Path) -> None:
    with part_file(path) as part:
        fill(part, 0)
        part.write(DATA[1000:])
        part.finish()
    assert path.read_bytes() == DATA


def test_an_attempt_that_only_missed_the_end_is_complete(path: Path) -> None:
    with part_file(path) as part:
        part.write(DATA)
    with part_file(path) as part:
        assert part.is_complete
        part.finish()


def test_a_finished_part_goes_to_its_place_and_leaves_nothing(path: Path) -> None:
    with part_file(path) as part:
        part.write(DATA)
        part.finish()
    target = path.parent / "blob"
    PartFile.release(path, target)
    assert [found.name for found in path.parent.iterdir()] == ["blob"]
    assert target.read_bytes() == DATA


def test_a_kill_between_move_and_the_end_of_the_journal(path: Path) -> None:
    with part_file(path) as part:
        part.write(DATA)
    path.unlink()
    with part_file(path) as part:
        assert part.size_bytes == 0


def test_discarding(path: Path) -> None:
    with part_file(path) as part:
        part.write(DATA[:5])
    PartFile.discard(path)
    PartFile.discard(path)
    assert list(path.parent.iterdir()) == []


def test_other_segments_of_an_earlier_version_are_taken_over(path: Path) -> None:
    with PartFile(path, expected_of(DATA), segment_bytes=512) as part:
        part.append(1, DATA[512:600])
    with part_file(path) as part:
        assert part.missing(1) == range(600, 1024)
        fill(part, *range(part.segment_count))
        part.finish()


def test_the_end_of_a_digest_of_git(path: Path) -> None:
    with part_file(path, Expected(size_bytes=len(DATA), git_sha1=GIT_SHA1)) as part:
        part.write(DATA)
        assert part.finish() == hashlib.sha256(DATA).hexdigest()


def test_wrong_bytes_by_the_digest_of_git(path: Path) -> None:
    with part_file(path, Expected(size_bytes=len(DATA), git_sha1=GIT_SHA1)) as part:
        part.write(bytes(len(DATA)))
        with pytest.raises(IntegrityError, match=f"expected git SHA-1 {GIT_SHA1}, got "):
            part.finish()


def test_an_empty_file(path: Path) -> None:
    with part_file(path, expected_of(b"")) as part:
        assert part.is_complete
        assert part.finish() == hashlib.sha256(b"").hexdigest()
        with pytest.raises(IntegrityError, match="more than the 0 bytes"):
            part.write(b"x")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"x",
        b"llmpart1" + bytes(48),
        b"llmpart1" + struct.pack("<QQ32x", 2560, 1),
        b"llmpart1" + struct.pack("<QQ32s3Q", 2560, 1000, bytes(32), 1000, 1000, 560),
        os.urandom(80),
        os.urandom(10_000),
    ],
    ids=["empty", "short", "no segments", "too few", "foreign", "noise", "long noise"],
)
def test_a_damaged_journal_credits_nothing(path: Path, damage: bytes) -> None:
    with part_file(path) as part:
        part.write(DATA)
    map_path(path).write_bytes(damage)
    with part_file(path) as part:
        assert part.size_bytes == 0
        part.write(DATA)
        part.finish()


def test_a_count_above_the_segment_credits_nothing(path: Path) -> None:
    with part_file(path) as part:
        part.write(DATA)
    data = bytearray(map_path(path).read_bytes())
    data[-24:-16] = struct.pack("<Q", 1001)
    map_path(path).write_bytes(data)
    assert PartFile.done_bytes(path) == 0
    with part_file(path) as part:
        assert part.size_bytes == 0


def test_a_part_without_its_journal_and_the_reverse(path: Path) -> None:
    assert PartFile.done_bytes(path) == 0
    path.write_bytes(DATA)
    with part_file(path) as part:
        assert part.size_bytes == 0
        part.write(DATA)
    path.write_bytes(DATA[:-1])  # cut short by somebody
    with part_file(path) as part:
        assert part.size_bytes == 0


def test_wrong_bytes_are_dropped_at_the_end(path: Path) -> None:
    with part_file(path) as part:
        part.write(bytes(len(DATA)))
        assert part.is_full
        assert not part.is_complete
        with pytest.raises(IntegrityError, match=f"expected SHA-256 {expected_of(DATA).sha256}, got "):
            part.finish()
        assert (part.size_bytes, path.stat().st_size) == (0, 0)
        part.write(DATA)  # the next source may do better
        part.finish()
    assert path.read_bytes() == DATA


def test_wrong_bytes_of_an_earlier_attempt_are_dropped_with_the_rest(path: Path) -> None:
    with part_file(path) as part:
        part.write(bytes(1500))
    with part_file(path) as part:
        part.write(DATA[1500:])
        with pytest.raises(IntegrityError, match="do not match"):
            part.finish()
    assert PartFile.done_bytes(path) == 0


def test_too_many_bytes_are_refused_before_they_are_written(path: Path) -> None:
    with part_file(path) as part:
        with pytest.raises(IntegrityError, match="more than the 1000 bytes"):
            part.append(0, bytes(1001))
        part.write(DATA)
        with pytest.raises(IntegrityError, match=f"more than the {len(DATA)} bytes"):
            part.write(b"x")
        assert part.size_bytes == 0


def test_an_early_end_is_an_error_that_keeps_the_bytes(path: Path) -> None:
    with part_file(path) as part:
        part.write(DATA[:10])
        with pytest.raises(IntegrityError, match=f"after 10 of {len(DATA)} bytes"):
            part.finish()
        assert part.size_bytes == 10


def test_starting_over(path: Path) -> None:
    with part_file(path) as part:
        part.write(bytes(1200))
        part.restart()
        assert (part.size_bytes, PartFile.done_bytes(path)) == (0, 0)
        part.write(DATA)
        part.finish()


def test_room_is_taken_at_once(path: Path) -> None:
    with part_file(path) as part:
        part.reserve()
        assert path.stat().st_size == len(DATA)


def test_many_threads_and_a_sync_now_and_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher, "_EVERY_BYTES", 100_000)
    data = random_bytes(2_000_000)

    def work(part: PartFile, mine: range) -> None:
        for segment in mine:
            while missing := part.missing(segment):
                part.append(segment, data[missing.start : min(missing.start + 3000, missing.stop)])

    with PartFile(path, expected_of(data), segment_bytes=10_000) as part:
        threads = [threading.Thread(target=work, args=(part, range(first, 200, 4))) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        part.finish()
    assert path.read_bytes() == data


def test_without_positioned_reads_and_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pwrite", "preadv", "posix_fallocate", "geteuid"):
        monkeypatch.delattr(os, name)
    test_many_threads_and_a_sync_now_and_then(path, monkeypatch)


@POSIX
@pytest.mark.parametrize("name", ["x.part", "x.part.map"])
@pytest.mark.parametrize("kind", ["symlink", "hard link", "FIFO", "folder"])
def test_what_is_planted_is_not_written_to(path: Path, tmp_path: Path, name: str, kind: str) -> None:
    target, planted = tmp_path / "precious", path.parent / name
    target.write_bytes(b"precious")
    match kind:
        case "symlink":
            planted.symlink_to(target)
        case "hard link":
            planted.hardlink_to(target)
        case "FIFO":
            os.mkfifo(planted)
        case _:
            planted.mkdir()
    with pytest.raises(ModelError, match=r"open the download|not a plain file of yours"), part_file(path):
        pass
    assert target.read_bytes() == b"precious"


@POSIX
def test_a_part_is_this_users_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with part_file(path):
            assert {stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("size_bytes", "sha256", "git_sha1"),
    [(-1, "0" * 64, None), (1, None, None), (1, None, "../x"), (1, None, "A" * 40), (1, None, "a" * 40 + "\n")],
)
def test_what_cannot_be_expected(size_bytes: int, sha256: str | None, git_sha1: str | None) -> None:
    with pytest.raises(IntegrityError):
        Expected(size_bytes=size_bytes, sha256=Digest(sha256) if sha256 else None, git_sha1=git_sha1)


def test_names_of_what_is_expected() -> None:
    assert Expected(size_bytes=1, sha256=Digest("a" * 64), git_sha1="b" * 40).key == "a" * 64
    assert Expected(size_bytes=1, git_sha1="b" * 40).key == "git-" + "b" * 40


@pytest.mark.parametrize(("mib", "segment_mib"), [(0, 8), (1, 8), (100, 8), (320, 20), (2048, 64), (70_000, 64)])
def test_segments_grow_with_the_file(mib: int, segment_mib: int) -> None:
    assert usual_segment_bytes(mib << 20) == segment_mib << 20
