"""The file that llama.cpp's quantizer writes: its metadata, byte by byte, and its size, told before it is written.

Sources: src/llama-quant.cpp (`llama_model_quantize_impl`), and ggml docs/gguf.md for the lengths.
"""

import struct
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

from localllm.errors import LoadFailed
from localllm.models.gguf.cursor import Cursor
from localllm.models.gguf.header import DEFAULT_ALIGNMENT, GgufHeader
from localllm.models.gguf.metadata import read_metadata
from localllm.models.gguf.tensor_types import TENSOR_TYPES
from localllm.models.gguf.tensors import padded

Pairs = dict[str, bytes]
"""Keys and values of a header: by key, the bytes of the whole pair."""

_COUNTS_AT = 8  # behind magic and version; the number of tensors, the number of pairs
_PRELUDE_BYTES = 24
_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION of ggml.h
_SPLIT_KEYS = {"split.no", "split.count", "split.tensors.count"}
_U32, _STRING = 4, 8  # gguf_metadata_value_type
_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}


def read_pairs(path: Path, header: GgufHeader) -> Pairs:
    """The metadata of a file whose header has been read. Raises LoadFailed where the file has changed since."""
    try:
        with path.open("rb") as file:
            data = file.read(header.data_offset)
    except OSError as error:
        raise LoadFailed(f"cannot read {path}: {error}; check the path and its permissions") from error
    if len(data) < header.data_offset:
        raise LoadFailed(f"{path} became shorter while it was read; leave it alone meanwhile")
    cursor = Cursor(data, header.data_offset)
    cursor.skip(_COUNTS_AT)
    _tensors, count = cursor.u64(), cursor.u64()
    pairs: Pairs = {}
    for _ in range(count):
        start = cursor.position
        (key,) = read_metadata(cursor, 1)
        pairs[key] = data[start : cursor.position]
    return pairs


def written_pairs(source: Pairs, *, file_type: int, metadata: Mapping[str, str | int]) -> Pairs:
    """What the new file has: the pairs of the source, but for how it was split, and what `metadata` says else."""
    kept = {key: pair for key, pair in source.items() if key not in _SPLIT_KEYS}
    said = {"general.quantization_version": _QUANTIZATION_VERSION, "general.file_type": file_type, **metadata}
    return kept | {key: _pair(key, value) for key, value in said.items()}


def file_bytes(pairs: Pairs, tensors: Iterable[tuple[str, tuple[int, ...], str]]) -> int:
    """The size of a whole file with such metadata and tensors: of each the name, the shape and the type."""
    header = _PRELUDE_BYTES + sum(map(len, pairs.values()))
    data = 0
    for name, shape, kind in tensors:
        header += _tensor_entry_bytes(name, shape)
        data += padded(tensor_bytes(shape, kind), DEFAULT_ALIGNMENT)
    return padded(header, DEFAULT_ALIGNMENT) + data


def tensor_bytes(shape: tuple[int, ...], kind: str) -> int:
    """What the weights of one tensor take."""
    return _TYPES[kind].size_bytes(prod(shape))


def _tensor_entry_bytes(name: str, shape: tuple[int, ...]) -> int:
    """Name, number of dimensions, dimensions, type, offset. ggml forgets dimensions of 1 at the end, but the first."""
    dimensions = max((number for number, length in enumerate(shape, 1) if length != 1), default=1)
    return 8 + len(name.encode()) + 4 + 8 * dimensions + 4 + 8


def _pair(key: str, value: str | int) -> bytes:
    """A pair as it stands in a header."""
    name = key.encode()
    begin = struct.pack("<Q", len(name)) + name
    if isinstance(value, int):
        return begin + struct.pack("<II", _U32, value)
    text = value.encode()
    return begin + struct.pack("<IQ", _STRING, len(text)) + text
