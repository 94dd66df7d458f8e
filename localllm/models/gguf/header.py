"""A GGUF header: what a file says it holds, checked before anything native reads it (ggml docs/gguf.md)."""

import os
import re
from io import BufferedReader
from pathlib import Path

from msgspec import Struct

from localllm.errors import LoadFailed
from localllm.models.files import NotRegular, open_regular
from localllm.models.gguf.cursor import Cursor, Data, damaged, read_until_whole
from localllm.models.gguf.metadata import LEAST_PAIR_BYTES, MAX_PAIRS, Metadata, read_metadata
from localllm.models.gguf.tensors import LEAST_TENSOR_BYTES, MAX_TENSORS, TensorInfo, padded, read_tensors
from localllm.models.gguf.vocabulary import check_vocabulary

DEFAULT_ALIGNMENT = 32
FIRST_READ_BYTES = 4 * 2**20  # the header of most models
_NEWEST_VERSION = 3
_ARCHITECTURE = re.compile(r"[a-z0-9_-]{1,64}")
_MAGIC = b"GGUF"
_OTHER_BEGINNINGS = {
    b"PK\3\4": "a zip or PyTorch file",
    b"vers": "perhaps a git-lfs pointer instead of the file",
    b"<!DO": "a web page",
    b"<htm": "a web page",
    b"lmgg": "of a format older than GGUF",
    b"fmgg": "of a format older than GGUF",
    b"tjgg": "of a format older than GGUF",
    b"algg": "of a format older than GGUF",
}


class GgufHeader(Struct, frozen=True, kw_only=True):
    """What stands before the weights. A part of a split model has its own; only the first says what the model is."""

    version: int
    metadata: Metadata
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_offset: int  # bytes from the beginning of the file to the data section


def read_header(path: Path) -> GgufHeader:
    """The header of a file. Raises LoadFailed, naming the file, when it is no regular file or not right.

    It is read, not mapped: a mapped file that becomes shorter meanwhile would end the process.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return _read(file)
    except NotRegular as error:
        raise LoadFailed(f"{path}: this is no regular file; name a GGUF file") from error
    except LoadFailed as error:
        raise LoadFailed(f"{path}: {error.message}") from error
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise LoadFailed(f"cannot read {path}: {error}; check the path and its permissions") from error


def parse_header(data: Data, file_bytes: int) -> GgufHeader:
    """The header at the beginning of a file of `file_bytes`, of which `data` is the first part.

    Raises Truncated when the header goes on beyond `data`, LoadFailed when it is not right.
    """
    cursor = Cursor(data, file_bytes)
    version = _read_version(cursor)
    tensor_count, pair_count = _read_counts(cursor)
    metadata = read_metadata(cursor, pair_count)
    _check_architecture(metadata)
    check_vocabulary(metadata)
    alignment = _alignment_of(metadata)
    if tensor_count == 0 and not _is_split(metadata):
        raise damaged("it holds no tensors")
    tensors = read_tensors(cursor, tensor_count, alignment)
    data_offset = padded(cursor.position, alignment)
    if tensors and data_offset + tensors[-1].offset + tensors[-1].size_bytes > file_bytes:
        raise damaged(f"it ends before its tensors do: {file_bytes} bytes are here")
    return GgufHeader(version=version, metadata=metadata, tensors=tensors, alignment=alignment, data_offset=data_offset)


def _read(file: BufferedReader) -> GgufHeader:
    file_bytes = os.fstat(file.fileno()).st_size
    return read_until_whole(file, file.read(FIRST_READ_BYTES), lambda data: parse_header(data, file_bytes))


def _read_version(cursor: Cursor) -> int:
    if cursor.file_bytes < 4 or (magic := cursor.take(4)) != _MAGIC:
        hint = _OTHER_BEGINNINGS.get(magic) if cursor.file_bytes >= 4 else "shorter than any"
        raise LoadFailed(f"this is no GGUF file{f' ({hint})' if hint else ''}; name or get one in the GGUF format")
    version = cursor.u32()
    if version & 0xFFFF == 0 and version:
        raise LoadFailed("this GGUF file is for big-endian machines; get the little-endian one")
    if version == 1:
        raise LoadFailed("this GGUF file is of version 1, which llama.cpp gave up; get a newer file of this model")
    if not 2 <= version <= _NEWEST_VERSION:
        raise LoadFailed(f"this GGUF file is of version {version}, {_NEWEST_VERSION} is the newest known here")
    return version


def _read_counts(cursor: Cursor) -> tuple[int, int]:
    """How many tensors and pairs follow."""
    tensors, pairs = cursor.u64(), cursor.u64()
    if tensors > MAX_TENSORS:
        raise damaged(f"it claims {tensors} tensors, {MAX_TENSORS} are the most")
    if pairs > MAX_PAIRS:
        raise damaged(f"it claims {pairs} keys, {MAX_PAIRS} are the most")
    if tensors * LEAST_TENSOR_BYTES + pairs * LEAST_PAIR_BYTES > cursor.left_bytes:
        raise damaged(f"it claims {tensors} tensors and {pairs} keys, which are more than it has room for")
    return tensors, pairs


def _check_architecture(metadata: Metadata) -> None:
    """Only the first part of a split model names it."""
    architecture = metadata.get("general.architecture")
    if architecture is None:
        if not _number(metadata, "split.no"):
            raise damaged("its header has no general.architecture")
    elif not isinstance(architecture, str) or not _ARCHITECTURE.fullmatch(architecture):
        raise damaged("its general.architecture is no plain name")


def _alignment_of(metadata: Metadata) -> int:
    alignment = _number(metadata, "general.alignment") if "general.alignment" in metadata else DEFAULT_ALIGNMENT
    if alignment.bit_count() != 1:
        raise damaged(f"its alignment of {alignment} is no power of two")
    return alignment


def _is_split(metadata: Metadata) -> bool:
    """A split model's first part may hold no tensors (`gguf-split --no-tensor-first-split`)."""
    return _number(metadata, "split.count") > 1


def _number(metadata: Metadata, key: str) -> int:
    value = metadata.get(key)
    return value if isinstance(value, int) and value >= 0 else 0
