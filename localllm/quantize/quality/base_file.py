"""The file in which one model's predictions wait for others to be compared with them.

magic (8 bytes), version (uint16), length of the header (uint32), CRC-32 of the header (uint32), all little-endian; the
header in MessagePack; the text, UTF-8; then for each scored token of each chunk a row: a code (`distributions.py`) of
uint16 for each token of the vocabulary, and the CRC-32 of these. Rows are written and read a few at a time.
"""

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from localllm.errors import IntegrityError
from localllm.models.disk_space import check_room
from localllm.models.files import PRIVATE_FILE, disk_errors
from localllm.quantize.quality.distributions import Codes
from localllm.quantize.quality.text_chunks import LEAST_CHUNK_TOKENS, most_text_bytes, scored_rows

MAGIC = b"\x89llmqb\r\n"  # as in PNG: a file that went through a text conversion shows it
VERSION = 1
_PREAMBLE = struct.Struct("<8sHII")
_MOST_HEADER_BYTES = 4096
_CHECKSUM = struct.Struct("<I")
_CHECKSUM_CODES = _CHECKSUM.size // 2  # uint16 that it takes
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would write other line ends


class BaseHeader(Struct, frozen=True, kw_only=True):
    """What the rows are of. `model` is LocalModel.identity; `tokens_sha256` of the ids as little-endian int32."""

    model: str
    vocab_size: int
    chunks: int
    chunk_tokens: int
    text_bytes: int
    text_sha256: str
    tokens_sha256: str

    @property
    def positions(self) -> int:
        """How many rows there are."""
        return self.chunks * scored_rows(self.chunk_tokens)

    @property
    def body_bytes(self) -> int:
        """What follows the header."""
        return self.text_bytes + self.positions * (self.vocab_size + _CHECKSUM_CODES) * 2

    @property
    def is_sound(self) -> bool:
        """Whether there can be such a file."""
        return (
            min(self.vocab_size, self.chunks) >= 1
            and self.chunk_tokens >= LEAST_CHUNK_TOKENS
            and 0 <= self.text_bytes <= most_text_bytes(self.chunks, self.chunk_tokens)
        )


class BaseWriter:
    """Takes the rows, in order."""

    def __init__(self, file: io.FileIO, header: BaseHeader, text: bytes) -> None:
        self._file = file  # unbuffered: closing it cannot fail
        body = msgspec.msgpack.encode(header)
        self._write(_PREAMBLE.pack(MAGIC, VERSION, len(body), zlib.crc32(body)) + body + text)

    def write(self, codes: Codes) -> None:
        """Append rows, uint16 [rows, vocab_size]. Raises NoRoom and ModelError."""
        width = codes.shape[1]
        rows = np.empty((len(codes), width + _CHECKSUM_CODES), "<u2")
        rows[:, :width] = codes
        for row in rows:
            row[width:] = np.frombuffer(_checksum(row[:width]), "<u2")
        self._write(rows.tobytes())

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with disk_errors(f"write {self._file.name}"):
            while view:
                view = view[self._file.write(view) :]


class BaseReader:
    """Gives the rows back, in order."""

    def __init__(self, file: io.BufferedReader, header: BaseHeader, text: str) -> None:
        self._file = file
        self.header = header
        self.text = text

    def read(self, count: int) -> Codes:
        """The next rows, uint16 [count, vocab_size]. Raises IntegrityError and ModelError."""
        width = self.header.vocab_size
        rows = np.empty((count, width + _CHECKSUM_CODES), "<u2")
        with disk_errors(f"read {self._file.name}"):
            size = self._file.readinto(rows.data.cast("B"))
        if size != rows.nbytes:
            raise _damaged(self._file.name, "it ends early")
        for row in rows:
            if row[width:].tobytes() != _checksum(row[:width]):
                raise _damaged(self._file.name, "a checksum is wrong")
        return rows[:, :width]


def header_of(text: bytes, *, model: str, vocab_size: int, chunks: int, chunk_tokens: int, tokens: str) -> BaseHeader:
    """The header of a file yet to be written; `tokens` is the digest of their ids."""
    return BaseHeader(
        model=model,
        vocab_size=vocab_size,
        chunks=chunks,
        chunk_tokens=chunk_tokens,
        text_bytes=len(text),
        text_sha256=hashlib.sha256(text).hexdigest(),
        tokens_sha256=tokens,
    )


@contextmanager
def writing(target: Path, header: BaseHeader, text: bytes) -> Generator[BaseWriter, None, None]:
    """Write a file aside and move it into place at the end; what fails leaves nothing. Raises NoRoom and ModelError.

    It is not synced: it serves until the comparison is done, and damage shows in the checksums.
    """
    check_room(target.parent, header.body_bytes)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with disk_errors(f"write {part}"):
            part.unlink(missing_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, PRIVATE_FILE)
        with open(part, "wb", buffering=0, opener=lambda _path, _flags: descriptor) as file:
            yield BaseWriter(file, header, text)
        with disk_errors(f"keep {target}"):
            os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def reading(path: Path) -> Generator[BaseReader, None, None]:
    """A file's header and text, checked; its rows are checked as they are read. Raises IntegrityError, ModelError."""
    with disk_errors(f"read {path}"):
        file = path.open("rb")
    with file:
        with disk_errors(f"read {path}"):
            header, text = _read_head(file)
        yield BaseReader(file, header, text)


def _read_head(file: io.BufferedReader) -> tuple[BaseHeader, str]:
    """Sizes are held against the file's before anything is made room for."""
    size = os.fstat(file.fileno()).st_size
    try:
        magic, version, length, checksum = _PREAMBLE.unpack(file.read(_PREAMBLE.size))
        if magic != MAGIC:
            raise _damaged(file.name, "it is no such file")
        if version != VERSION:
            raise _damaged(file.name, "another version of this program wrote it")
        body = file.read(min(length, _MOST_HEADER_BYTES))
        if len(body) != length or zlib.crc32(body) != checksum:
            raise _damaged(file.name, "its header is broken")
        header = msgspec.msgpack.decode(body, type=BaseHeader)
    except (struct.error, msgspec.MsgspecError) as error:
        raise _damaged(file.name, "its header is broken") from error
    if not header.is_sound or _PREAMBLE.size + length + header.body_bytes != size:
        raise _damaged(file.name, "its size is not what its header says")
    text = file.read(header.text_bytes)
    if hashlib.sha256(text).hexdigest() != header.text_sha256:
        raise _damaged(file.name, "its text is not what its header says")
    return header, text.decode("utf-8", "replace")


def _checksum(codes: Codes) -> bytes:
    """Of one row."""
    return _CHECKSUM.pack(zlib.crc32(codes.data))


def _damaged(name: str, reason: str) -> IntegrityError:
    return IntegrityError(f"{name} cannot be compared with: {reason}; score the base again")
