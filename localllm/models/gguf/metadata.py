"""The key-value pairs of a GGUF header (ggml docs/gguf.md, and the checks of ggml's gguf.cpp)."""

import struct

from msgspec import Struct

from localllm.models.gguf.cursor import Cursor, damaged

MAX_PAIRS = 65_536
MAX_KEY_BYTES = 65_535
MAX_STRINGS = 2**21  # of one array: 262 k tokens and 0.6 M merges are the most that models have
MAX_KEPT_ITEMS = 4096
LEAST_PAIR_BYTES = 8 + 1 + 4 + 1  # a key of one byte, and a bool

_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS = {
    0: ("uint8", struct.Struct("<B")),
    1: ("int8", struct.Struct("<b")),
    2: ("uint16", struct.Struct("<H")),
    3: ("int16", struct.Struct("<h")),
    4: ("uint32", struct.Struct("<I")),
    5: ("int32", struct.Struct("<i")),
    6: ("float32", struct.Struct("<f")),
    _BOOL: ("bool", struct.Struct("<B")),
    10: ("uint64", struct.Struct("<Q")),
    11: ("int64", struct.Struct("<q")),
    12: ("float64", struct.Struct("<d")),
}
_U32 = 4
_ALIGNMENT = "general.alignment"

Number = bool | int | float


class ArrayInfo(Struct, frozen=True, kw_only=True):
    """An array. Its items are kept where they are few numbers; `items` is None for strings and for long arrays."""

    element_type: str
    count: int
    items: tuple[Number, ...] | None = None


Value = Number | str | ArrayInfo
Metadata = dict[str, Value]


def read_metadata(cursor: Cursor, pairs: int) -> Metadata:
    """The next `pairs` pairs. Raises LoadFailed, naming the key at fault, or Truncated."""
    found: Metadata = {}
    for _ in range(pairs):
        key = read_name(cursor, MAX_KEY_BYTES, "a key")
        if key in found:
            raise damaged(f"the key {quoted(key)} stands twice in its header")
        found[key] = _read_value(cursor, key)
    return found


def read_name(cursor: Cursor, most_bytes: int, what: str) -> str:
    """A string that names something: not empty, UTF-8, without NUL, which ends strings in C."""
    length = cursor.u64()
    if length > most_bytes:
        raise damaged(f"{what} has {length} bytes, {most_bytes} are the most")
    try:
        name = cursor.take(length).decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(f"{what} is not UTF-8") from error
    if not name or "\0" in name:
        raise damaged(f"{what} is empty or contains NUL")
    return name


def quoted(name: str) -> str:
    """A name out of a file, short and on one line."""
    return repr(name if len(name) <= 80 else f"{name[:80]}…")


def _read_value(cursor: Cursor, key: str) -> Value:
    kind = cursor.u32()
    if key == _ALIGNMENT and kind != _U32:
        raise damaged(f"the value of {_ALIGNMENT} is not a uint32")
    if kind == _ARRAY:
        return _read_array(cursor, key)
    if kind == _STRING:
        return cursor.take(cursor.u64()).decode("utf-8", "replace")  # descriptions are not always what they should be
    return _read_numbers(cursor, key, kind, 1)[0]


def _read_array(cursor: Cursor, key: str) -> ArrayInfo:
    kind, count = cursor.u32(), cursor.u64()
    if kind == _ARRAY:
        raise damaged(f"the value of {quoted(key)} is an array of arrays, which llama.cpp does not read")
    if kind == _STRING:
        if count > MAX_STRINGS:
            raise damaged(f"the value of {quoted(key)} has {count} strings, {MAX_STRINGS} are the most")
        cursor.skip_strings(count)
        return ArrayInfo(element_type="string", count=count)
    name, form = _number_type(kind, key)
    if kind != _BOOL and count > MAX_KEPT_ITEMS:
        cursor.skip(count * form.size)
        return ArrayInfo(element_type=name, count=count)
    items = _read_numbers(cursor, key, kind, count)
    return ArrayInfo(element_type=name, count=count, items=items if count <= MAX_KEPT_ITEMS else None)


def _read_numbers(cursor: Cursor, key: str, kind: int, count: int) -> tuple[Number, ...]:
    form = _number_type(kind, key)[1]
    raw = cursor.take(count * form.size)
    if kind != _BOOL:
        return tuple(value for (value,) in form.iter_unpack(raw))
    if raw.translate(None, b"\0\1"):
        raise damaged(f"the value of {quoted(key)} is a bool that is neither 0 nor 1")
    return tuple(map(bool, raw))


def _number_type(kind: int, key: str) -> tuple[str, struct.Struct]:
    if kind not in _NUMBERS:
        raise damaged(f"the value of {quoted(key)} has the unknown type {kind}")
    return _NUMBERS[kind]
