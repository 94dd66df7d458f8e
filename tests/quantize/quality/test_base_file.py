"""The base file: what was written is read, and whatever is not that is refused."""

import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.errors import IntegrityError, ModelError
from localllm.quantize.quality.base_file import BaseHeader, header_of, reading, writing

VOCABULARY = 11  # odd: rows are no multiple of 4 bytes
TEXT = "Ein Text, naïve.".encode()
PREAMBLE = struct.Struct("<8sHII")


def codes(count: int, seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 65536, (count, VOCABULARY)).astype(np.uint16)


def header(**fields: object) -> BaseHeader:
    values = {"model": "m", "vocab_size": VOCABULARY, "chunks": 2, "chunk_tokens": 8, "tokens": "t" * 64}
    return header_of(TEXT, **values | fields)  # type: ignore[arg-type]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two chunks of three rows each."""
    path = tmp_path / "base.bin"
    with writing(path, header(), TEXT) as writer:
        writer.write(codes(6)[:4])
        writer.write(codes(6)[4:])
    return path


def write_interrupted(path: Path) -> None:
    with writing(path, header(), TEXT) as writer:
        writer.write(codes(2))
        raise KeyboardInterrupt


def read_all(path: Path) -> NDArray[np.uint16]:
    with reading(path) as reader:
        return np.concatenate([reader.read(1), reader.read(reader.header.positions - 1)])


def test_what_was_written_is_read(base: Path) -> None:
    with reading(base) as reader:
        assert reader.header == header()
        assert reader.text.encode() == TEXT
    assert np.array_equal(read_all(base), codes(6))


def test_its_size_is_known_before(base: Path) -> None:
    data = base.read_bytes()
    length = PREAMBLE.unpack(data[: PREAMBLE.size])[2]
    assert len(data) == PREAMBLE.size + length + header().body_bytes
    assert header().body_bytes == len(TEXT) + 6 * (2 * VOCABULARY + 4)


def test_it_replaces_what_was_there(base: Path) -> None:
    with writing(base, header(), TEXT) as writer:
        writer.write(codes(6, seed=1))
    assert np.array_equal(read_all(base), codes(6, seed=1))


def test_every_place_it_can_be_cut_off_at_is_noticed(base: Path) -> None:
    data = base.read_bytes()
    for size in range(len(data)):
        base.write_bytes(data[:size])
        with pytest.raises(IntegrityError, match="cannot be compared with"):
            read_all(base)


def test_every_flipped_bit_is_noticed(base: Path) -> None:
    data = base.read_bytes()
    for place in range(len(data)):
        base.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(IntegrityError, match="score the base again"):
            read_all(base)


def test_something_behind_it_is_noticed(base: Path) -> None:
    base.write_bytes(base.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match="size"):
        read_all(base)


def with_header(data: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    """Another header, with a right checksum."""
    length = PREAMBLE.unpack(data[: PREAMBLE.size])[2]
    fields = msgspec.msgpack.decode(data[PREAMBLE.size : PREAMBLE.size + length])
    body = msgspec.msgpack.encode(change(fields))
    return PREAMBLE.pack(data[:8], 1, len(body), zlib.crc32(body)) + body + data[PREAMBLE.size + length :]


@pytest.mark.parametrize(
    "claim",
    [
        {"chunks": 10**12},
        {"chunks": 2**63},
        {"chunks": 0},
        {"chunks": -2},
        {"vocab_size": 2**40},
        {"vocab_size": 0},
        {"vocab_size": -2, "text_bytes": 16 + 6 * 26},
        {"chunk_tokens": 2**62},
        {"chunk_tokens": 0},
        {"chunk_tokens": -8},
        {"text_bytes": 2**50},
        {"text_bytes": -1},
        {"text_sha256": "0" * 64},
        {"model": 5},
        {"chunks": "2"},
        {"vocab_size": None},
    ],
    ids=str,
)
def test_a_header_that_lies_is_refused(base: Path, claim: dict[str, object]) -> None:
    base.write_bytes(with_header(base.read_bytes(), lambda fields: fields | claim))
    with pytest.raises(IntegrityError):
        read_all(base)


@pytest.mark.parametrize("body", [[], "x", {}, None])
def test_a_header_of_another_kind_is_refused(base: Path, body: object) -> None:
    base.write_bytes(with_header(base.read_bytes(), lambda _: body))
    with pytest.raises(IntegrityError, match="header"):
        read_all(base)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "header"), (b"GGUF" + bytes(100), "no such file"), (b"\n" * 100, "no such file")],
    ids=["empty", "gguf", "text"],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=words):
        read_all(path)


def test_another_version_is_refused(base: Path) -> None:
    data = bytearray(base.read_bytes())
    data[8] = 2
    base.write_bytes(data)
    with pytest.raises(IntegrityError, match="another version"):
        read_all(base)


def test_a_missing_file_and_a_folder_are_errors_of_ours(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ModelError, match="cannot read"):
            read_all(path)


def test_what_fails_leaves_what_was_there(base: Path) -> None:
    before = base.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_interrupted(base)
    assert base.read_bytes() == before
    assert [path.name for path in base.parent.iterdir()] == ["base.bin"]


def test_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot write"), writing(tmp_path / "no" / "base", header(), TEXT):
        pass


def test_a_disk_that_fills_up_is_an_error_of_ours(base: Path) -> None:
    """Also where what is written would fit into a buffer, whose end is not noticed before the file is closed."""
    before, limits = base.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1, limits[1]))  # writing fails beyond
    try:
        with pytest.raises(ModelError, match="cannot write"), writing(base, header(), TEXT) as writer:
            writer.write(codes(6, seed=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert base.read_bytes() == before
    assert [path.name for path in base.parent.iterdir()] == ["base.bin"]
