"""Safetensors: eight bytes of length, a header in JSON, data (huggingface/safetensors, README, "Format").

The checks are those of its src/tensor.rs (`read_metadata`, `validate`); the errors here name the tensor.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path

from msgspec import Struct

from localllm.convert.json_object import AGAIN, parse_object
from localllm.convert.weight_reader import FileState, WeightReader, open_weights
from localllm.errors import LoadFailed
from localllm.models.gguf.metadata import quoted

_MOST_HEADER_BYTES = 100_000_000  # MAX_HEADER_SIZE
_MOST_DIMENSIONS = 32  # weights of language models have four at most
_MOST_BYTES = 2**63 - 1
_LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}
_BITS = {
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8"), 8),
    **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


class StoredTensor(Struct, frozen=True, kw_only=True):
    """Where a tensor lies in its file."""

    dtype: str  # F32, BF16, I64 …
    shape: tuple[int, ...]  # rows first
    offset: int  # bytes from the beginning of the file
    size_bytes: int


class WeightFile(Struct, frozen=True, kw_only=True):
    """A file whose header is right; `state` is what the file was when that was read."""

    name: str  # as the checkpoint calls it
    path: Path
    state: FileState
    tensors: Mapping[str, StoredTensor]

    @contextmanager
    def opened(self) -> Iterator[WeightReader]:
        """The file, to read tensors from. Raises LoadFailed where it is no longer what it was."""
        with open_weights(self.path, self.name) as reader:
            if reader.state != self.state:
                raise LoadFailed(f"{self.name} changed while it was read; begin again when it is complete")
            yield reader


def read_weight_file(path: Path, name: str) -> WeightFile:
    """Read the header of a file that the checkpoint calls `name`. Raises LoadFailed, naming it and the tensor."""
    with open_weights(path, name) as reader:
        header, data_offset = _read_header(reader, name)
        tensors = {
            tensor: _stored(entry, data_offset, f"{name}: the tensor {quoted(tensor)}")
            for tensor, entry in header.items()
            if tensor != _METADATA
        }
        _check_metadata(header.get(_METADATA, {}), name)
        _check_places(tensors, name, data_offset, reader.size_bytes)
        return WeightFile(name=name, path=path, state=reader.state, tensors=tensors)


def _read_header(reader: WeightReader, name: str) -> tuple[dict[str, object], int]:
    """The header, and where the data behind it begins."""
    if reader.size_bytes < _LENGTH.size:
        raise LoadFailed(f"{name} has {reader.size_bytes} bytes, which is no safetensors file; {AGAIN}")
    length = bytearray(_LENGTH.size)
    reader.fill(0, memoryview(length))
    (header_bytes,) = _LENGTH.unpack(length)
    if length.startswith(b"version "):
        raise LoadFailed(f"{name} is a git-lfs pointer instead of the file; get the file itself")
    if header_bytes > min(_MOST_HEADER_BYTES, reader.size_bytes - _LENGTH.size):
        limit = (
            f"{_MOST_HEADER_BYTES} bytes are the most" if header_bytes > _MOST_HEADER_BYTES else "the file ends before"
        )
        raise LoadFailed(f"{name} claims a header of {header_bytes} bytes, {limit}; {AGAIN}")
    header = bytearray(header_bytes)
    reader.fill(_LENGTH.size, memoryview(header))
    if not header.startswith(b"{"):
        raise LoadFailed(f"{name} has a header that is no JSON object; {AGAIN}")
    return parse_object(bytes(header), f"the header of {name}"), _LENGTH.size + header_bytes


def _stored(entry: object, data_offset: int, what: str) -> StoredTensor:
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise LoadFailed(f"{what} is not described by {', '.join(sorted(_FIELDS))}; {AGAIN}")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise LoadFailed(f"{what} is of the unknown type {quoted(str(dtype))}; {AGAIN}")
    shape = _whole_numbers(entry["shape"])
    if shape is None or len(shape) > _MOST_DIMENSIONS:
        raise LoadFailed(f"{what} has the shape {str(entry['shape'])[:80]}, which cannot be; {AGAIN}")
    offsets = _whole_numbers(entry["data_offsets"])
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise LoadFailed(f"{what} has the data offsets {str(entry['data_offsets'])[:80]}, which cannot be; {AGAIN}")
    begin, end = offsets
    if prod(shape) * _BITS[dtype] != (end - begin) * 8:
        raise LoadFailed(
            f"{what} takes {end - begin} bytes, which {dtype} of the shape {list(shape)} does not; {AGAIN}"
        )
    return StoredTensor(dtype=dtype, shape=shape, offset=data_offset + begin, size_bytes=end - begin)


def _whole_numbers(value: object) -> tuple[int, ...] | None:
    """None where it is no list of numbers from 0 on that a file could have so many bytes of."""
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= _MOST_BYTES for item in value):
        return None
    return tuple(value)


def _check_metadata(metadata: object, name: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise LoadFailed(f"the header of {name} has a {_METADATA} that is no object of texts; {AGAIN}")


def _check_places(tensors: Mapping[str, StoredTensor], name: str, data_offset: int, file_bytes: int) -> None:
    """One tensor begins where the one before it ends, the first with the data, and the last ends with the file."""
    expected = data_offset
    for tensor, stored in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].size_bytes)):
        end = stored.offset + stored.size_bytes
        if end > file_bytes:
            raise LoadFailed(
                f"{name} ends before its tensor {quoted(tensor)} does: {file_bytes} bytes are here; {AGAIN}"
            )
        if stored.offset != expected:
            how = "overlaps the one before it" if stored.offset < expected else "begins behind a hole"
            raise LoadFailed(f"{name}: the tensor {quoted(tensor)} {how}; {AGAIN}")
        expected = end
    if expected != file_bytes:
        raise LoadFailed(f"{name} goes on for {file_bytes - expected} bytes behind its last tensor; {AGAIN}")
