"""The long arrays of a GGUF header, which `header.py` only counts (ggml docs/gguf.md)."""

from collections.abc import Container
from pathlib import Path

import gguf
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from localllm.errors import LoadFailed
from localllm.models.gguf.cursor import Cursor, damaged
from localllm.models.gguf.header import GgufHeader
from localllm.models.gguf.metadata import MAX_KEY_BYTES, read_name

_BEFORE_PAIRS = 4 + 4 + 8  # magic, version, number of tensors
_STRING, _ARRAY = int(gguf.GGUFValueType.STRING), int(gguf.GGUFValueType.ARRAY)
_NUMBERS: dict[int, np.dtype[np.generic]] = {
    int(kind): np.dtype(form).newbyteorder("<") for kind, form in gguf.GGUFReader.gguf_scalar_to_np.items()
}


class Arrays(Struct, frozen=True):
    """Arrays by key."""

    texts: dict[str, list[bytes]]
    numbers: dict[str, NDArray[np.generic]]


def read_arrays(path: Path, header: GgufHeader, keys: Container[str]) -> Arrays:
    """Those of `keys` that the file has, which `header` is of. Raises LoadFailed.

    gguf's own reader takes seconds for them: it keeps every string and its length as an array of numpy.
    """
    try:
        with path.open("rb") as file:
            data = file.read(header.data_offset)
    except OSError as error:
        raise LoadFailed(f"cannot read {path}: {error}; check the path and its permissions") from error
    try:
        return _read(Cursor(data, len(data)), keys)
    except LoadFailed as error:
        raise LoadFailed(f"{path}: {error.message}") from error


def _read(cursor: Cursor, keys: Container[str]) -> Arrays:
    cursor.skip(_BEFORE_PAIRS)
    found = Arrays({}, {})
    for _ in range(cursor.u64()):
        key = read_name(cursor, MAX_KEY_BYTES, "a key")
        kind = cursor.u32()
        if kind == _STRING:
            cursor.skip(cursor.u64())
        elif kind != _ARRAY:
            cursor.skip(_form(kind).itemsize)
        else:
            _read_array(cursor, key, found if key in keys else None)
    return found


def _read_array(cursor: Cursor, key: str, found: Arrays | None) -> None:
    kind, count = cursor.u32(), cursor.u64()
    if kind != _STRING:
        raw = cursor.take(count * _form(kind).itemsize)
        if found is not None:
            found.numbers[key] = np.frombuffer(raw, _form(kind))
    elif found is None:
        cursor.skip_strings(count)
    else:
        found.texts[key] = [cursor.take(cursor.u64()) for _ in range(count)]


def _form(kind: int) -> np.dtype[np.generic]:
    if kind not in _NUMBERS:
        raise damaged(f"a value has the unknown type {kind}")
    return _NUMBERS[kind]
