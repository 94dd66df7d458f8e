"""GGUF headers made by hand, byte by byte, so that every single thing in them can be wrong."""

import struct
from collections.abc import Sequence

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMS = dict(zip((U8, I8, U16, I16, U32, I32, F32, BOOL, U64, I64, F64), "BbHhIifBQqd", strict=True))


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def number(kind: int, value: float) -> bytes:
    return struct.pack(f"<{_FORMS[kind]}", value)


def pair(key: str | bytes, kind: int, value: float | str | bytes) -> bytes:
    body = number(kind, value) if isinstance(value, int | float) else text(value)
    return text(key) + struct.pack("<I", kind) + body


def words(key: str, value: str) -> bytes:
    return pair(key, STRING, value)


def count(key: str, value: int) -> bytes:
    return pair(key, U32, value)


def array(key: str, kind: int, body: bytes, length: int) -> bytes:
    return text(key) + struct.pack("<IIQ", ARRAY, kind, length) + body


def numbers(key: str, kind: int, values: Sequence[float]) -> bytes:
    return array(key, kind, b"".join(number(kind, value) for value in values), len(values))


def strings(key: str, values: Sequence[str]) -> bytes:
    return array(key, STRING, b"".join(map(text, values)), len(values))


def tensor(name: str | bytes, shape: Sequence[int] = (32,), kind: int = 0, offset: int = 0, rank: int = -1) -> bytes:
    sizes = b"".join(struct.pack("<Q", size) for size in shape)
    return text(name) + struct.pack("<I", len(shape) if rank < 0 else rank) + sizes + struct.pack("<IQ", kind, offset)


ARCHITECTURE = words("general.architecture", "llama")
WEIGHT = tensor("a.weight")
WEIGHT_BYTES = 32 * 4


def gguf(
    pairs: Sequence[bytes] = (ARCHITECTURE,),
    tensors: Sequence[bytes] = (WEIGHT,),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    claims: tuple[int | None, int | None] = (None, None),
    alignment: int = 32,
    data_bytes: int = WEIGHT_BYTES,
) -> bytes:
    """A file with zeros for weights. `claims` are the counts of tensors and pairs that it states instead."""
    tensor_count = len(tensors) if claims[0] is None else claims[0]
    pair_count = len(pairs) if claims[1] is None else claims[1]
    head = magic + struct.pack("<IQQ", version, tensor_count, pair_count) + b"".join([*pairs, *tensors])
    return head + bytes(-len(head) % alignment) + bytes(data_bytes)


def model(*pairs: bytes, architecture: str = "llama", tensors: Sequence[bytes] = (WEIGHT,)) -> bytes:
    """A file of that architecture with these further pairs."""
    return gguf([words("general.architecture", architecture), *pairs], tensors)
