"""Importance matrices as llama.cpp keeps them: a GGUF file of the type imatrix (llama.cpp tools/imatrix/README.md).

For each tensor of weights it has `<name>.in_sum2`, sums of squares of what entered it, and `<name>.counts`, how many
rows they are the sums of: one count, or one for each expert.
"""

import os
import struct
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from localllm.errors import LoadFailed
from localllm.models.files import NotRegular, open_regular
from localllm.models.gguf.cursor import Cursor, damaged, read_until_whole
from localllm.models.gguf.metadata import MAX_PAIRS, ArrayInfo, Metadata, quoted, read_metadata
from localllm.models.gguf.tensors import MAX_TENSORS, TensorInfo, padded, read_tensors
from localllm.models.reference import shown

TYPE = "imatrix"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
SUMS, COUNTS = ".in_sum2", ".counts"

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_FIRST_READ_BYTES = 2**20  # the header of most
_MOST_FILE_BYTES = 4 * 2**30  # 60 layers of 400 experts each take half of it
_MOST_DATASETS = 1000
_MOST_COUNT = 2.0**53
_WITHOUT_DATA = 1.0  # what upstream's tools/quantize takes for the values of an expert that was never chosen

# Before GGUF: int32 entries; then of each int32 length of the name, and the name (common/imatrix-loader.cpp)
_OLD_BEGINNING = struct.Struct("<ii")
_OLD_NAMES = (b"blk.", b"output", b"token_embd")


class Importance(Struct, frozen=True, kw_only=True):
    """What a file says. `values` are mean squares by tensor, float32 [matrices * row length], none negative."""

    values: dict[str, NDArray[np.float32]]
    datasets: tuple[str, ...]
    chunks: int
    chunk_tokens: int
    unused: dict[str, int]  # how many experts of a tensor were never chosen, where there are any; their values are 1


class _Head(Struct, frozen=True, kw_only=True):
    datasets: tuple[str, ...]
    chunks: int
    chunk_tokens: int
    tensors: dict[str, TensorInfo]
    data_offset: int


def is_importance(choice: str) -> bool:
    """Whether `choice` is the path of an importance matrix, of the older format too; raises nothing."""
    try:
        with os.fdopen(open_regular(Path(choice).expanduser()), "rb") as file:
            beginning = file.read(64)
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no home to expand ~ to
        return False
    return beginning.startswith(_MAGIC) or _is_old(beginning)


def read_importance(path: Path) -> Importance:
    """Read a file of ours, or of llama.cpp's tools/imatrix. Raises LoadFailed, naming the file, for any other."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            head = _read_head(file)
            entries = {name: _entry(file, head, name) for name in _names(head.tensors)}
    except NotRegular as error:
        raise LoadFailed(f"{shown(path)}: this is no regular file; name an importance matrix") from error
    except LoadFailed as error:
        raise LoadFailed(f"{shown(path)}: {error.message}") from error
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise LoadFailed(f"cannot read {shown(path)}: {error}; check the path and its permissions") from error
    return Importance(
        values={name: values for name, (values, _) in entries.items()},
        datasets=head.datasets,
        chunks=head.chunks,
        chunk_tokens=head.chunk_tokens,
        unused={name: unused for name, (_, unused) in entries.items() if unused},
    )


def _read_head(file: BufferedReader) -> _Head:
    file_bytes = os.fstat(file.fileno()).st_size
    first = file.read(_FIRST_READ_BYTES)
    if _is_old(first):
        raise LoadFailed("this importance matrix is of llama.cpp's older format (.dat); make it anew, as a GGUF")
    return read_until_whole(file, first, lambda data: _parse_head(data, file_bytes))


def _is_old(data: bytes) -> bool:
    if data.startswith(_MAGIC) or len(data) < _OLD_BEGINNING.size:
        return False
    entries, length = _OLD_BEGINNING.unpack_from(data)
    return entries > 0 and 0 < length < 256 and data[_OLD_BEGINNING.size :].startswith(_OLD_NAMES)


def _parse_head(data: bytearray, file_bytes: int) -> _Head:
    """Not `parse_header`, because upstream names no architecture, and the datasets are an array of strings."""
    cursor = Cursor(data, file_bytes)
    if file_bytes < 4 or cursor.take(4) != _MAGIC:
        raise LoadFailed("this is no importance matrix; name a GGUF file that llama.cpp's imatrix or localllm made")
    if (version := cursor.u32()) not in _VERSIONS:
        raise LoadFailed(f"this GGUF file is of version {version}, which is not known here")
    tensors, pairs = cursor.u64(), cursor.u64()
    if tensors > MAX_TENSORS or pairs > MAX_PAIRS:
        raise damaged(f"it claims {tensors} tensors and {pairs} keys")
    metadata, datasets = _read_pairs(cursor, pairs, data)
    if file_bytes > _MOST_FILE_BYTES:
        raise damaged(f"no importance matrix has {file_bytes} bytes")
    infos = {tensor.name: tensor for tensor in read_tensors(cursor, tensors, _ALIGNMENT)}
    return _Head(
        datasets=datasets,
        chunks=_number(metadata, CHUNK_COUNT),
        chunk_tokens=_number(metadata, CHUNK_SIZE),
        tensors=infos,
        data_offset=padded(cursor.position, _ALIGNMENT),
    )


def _read_pairs(cursor: Cursor, pairs: int, data: bytearray) -> tuple[Metadata, tuple[str, ...]]:
    """All pairs, and the datasets, of which `read_metadata` keeps the number alone."""
    metadata: Metadata = {}
    datasets: tuple[str, ...] = ()
    for _ in range(pairs):
        start = cursor.position
        (key, value) = next(iter(read_metadata(cursor, 1).items()))
        if key in metadata:
            raise damaged(f"the key {quoted(key)} stands twice in its header")
        metadata[key] = value
        if key == DATASETS:
            datasets = _strings(value, data, cursor.file_bytes, start)
    if metadata.get("general.type") != TYPE:
        raise LoadFailed("this GGUF file is no importance matrix; for a model, name it as the source instead")
    if DATASETS not in metadata:
        raise damaged(f"its header has no {DATASETS}")
    if metadata.get("general.alignment", _ALIGNMENT) != _ALIGNMENT:
        raise damaged("it has an alignment of its own, which importance matrices have not")
    return metadata, datasets


def _strings(value: object, data: bytearray, file_bytes: int, start: int) -> tuple[str, ...]:
    """The items of an array that `start` is the beginning of, with its key."""
    if not isinstance(value, ArrayInfo) or value.element_type != "string" or value.count > _MOST_DATASETS:
        raise damaged(f"the value of {DATASETS} is not a few strings")
    cursor = Cursor(data, file_bytes)
    cursor.skip(start)
    cursor.take(cursor.u64())  # the key
    cursor.skip(4 + 4 + 8)  # array; its type; its length
    return tuple(cursor.take(cursor.u64()).decode("utf-8", "replace") for _ in range(value.count))


def _names(tensors: dict[str, TensorInfo]) -> Iterator[str]:
    """Of weights that the file has sums of; other tensors (`.in_sum` of some versions) are left alone."""
    found = 0
    for name in tensors:
        if name.endswith(SUMS):
            found += 1
            yield name.removesuffix(SUMS)
        elif name.endswith(COUNTS) and name.removesuffix(COUNTS) + SUMS not in tensors:
            raise damaged(f"it has {quoted(name)} without sums")
    if not found:
        raise damaged("it has no sums")


def _entry(file: BufferedReader, head: _Head, name: str) -> tuple[NDArray[np.float32], int]:
    """Mean squares of a tensor, and how many of its experts have none."""
    sums, counts = (_floats(file, head, name + suffix) for suffix in (SUMS, COUNTS))
    if not np.isfinite(sums).all() or (sums < 0).any():
        raise damaged(f"its sums of {quoted(name)} are no sums of squares")
    if not ((counts >= 0) & (counts < _MOST_COUNT)).all():  # false for NaN as well
        raise damaged(f"its counts of {quoted(name)} are no counts")
    if sums.size % counts.size:
        raise damaged(f"its {sums.size} sums of {quoted(name)} do not belong to {counts.size} counts")
    rounded = np.rint(counts)[:, np.newaxis]
    with np.errstate(over="ignore"):
        means = sums.reshape(counts.size, -1) / np.maximum(rounded, 1)
    values = np.where(rounded > 0, means, np.float32(_WITHOUT_DATA)).astype(np.float32)
    return values.reshape(-1), int((rounded == 0).sum())


def _floats(file: BufferedReader, head: _Head, name: str) -> NDArray[np.float32]:
    tensor = head.tensors.get(name)
    if tensor is None:
        raise damaged(f"it has no {quoted(name)}")
    if tensor.type_name != "F32":
        raise damaged(f"{quoted(name)} is of the type {tensor.type_name}, not F32")
    file.seek(head.data_offset + tensor.offset)
    raw = file.read(tensor.size_bytes)
    if len(raw) < tensor.size_bytes:
        raise damaged("it ends before its tensors do")
    return np.frombuffer(raw, "<f4")


def _number(metadata: Metadata, key: str) -> int:
    """Raises LoadFailed where it is missing, as upstream does."""
    value = metadata.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise damaged(f"its header has no {key}")
    return value
