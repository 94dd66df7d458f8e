"""The tensor table of a GGUF header: names, shapes, types and places, as strict as ggml's gguf.cpp.

Offsets count from the data section; each tensor must begin where the one before it ends, rounded up to the
alignment.
"""

from math import prod

from msgspec import Struct

from localllm.models.gguf.cursor import Cursor, damaged
from localllm.models.gguf.metadata import quoted, read_name
from localllm.models.gguf.tensor_types import REMOVED_TYPES, TENSOR_TYPES, TensorType

MAX_TENSORS = 65_536  # gguf.cpp compares each name with all before it: far more would take it minutes
MAX_NAME_BYTES = 63  # GGML_MAX_NAME counts the NUL behind it
MAX_DIMENSIONS = 4
LEAST_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8  # a name of one byte, no dimensions, type, offset
_MAX_ELEMENTS = 2**63 - 1


class TensorInfo(Struct, frozen=True, kw_only=True):
    """One tensor. `shape` has the length of a row first, as ggml writes it; () is a single number."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    offset: int  # bytes from the beginning of the data section
    size_bytes: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


def read_tensors(cursor: Cursor, count: int, alignment: int) -> tuple[TensorInfo, ...]:
    """The next `count` entries. Raises LoadFailed, naming the tensor at fault, or Truncated."""
    found: dict[str, TensorInfo] = {}
    expected = 0
    for _ in range(count):
        tensor = _read_tensor(cursor)
        if tensor.name in found:
            raise damaged(f"two tensors are called {quoted(tensor.name)}")
        if tensor.offset != expected:
            raise damaged(f"the tensor {quoted(tensor.name)} begins at {tensor.offset} where {expected} is its place")
        if tensor.offset + tensor.size_bytes > cursor.file_bytes:
            raise damaged(f"the tensor {quoted(tensor.name)} is larger than the file")
        expected = padded(tensor.offset + tensor.size_bytes, alignment)
        found[tensor.name] = tensor
    return tuple(found.values())


def padded(size_bytes: int, alignment: int) -> int:
    """`size_bytes` rounded up to a multiple of `alignment`."""
    return -(-size_bytes // alignment) * alignment


def _read_tensor(cursor: Cursor) -> TensorInfo:
    name = read_name(cursor, MAX_NAME_BYTES, "a tensor's name")
    shape = _read_shape(cursor, name)
    kind = _type_of(cursor.u32(), name)
    row = shape[0] if shape else 1
    if row % kind.block_elements:
        block = f"{kind.name} needs multiples of {kind.block_elements}"
        raise damaged(f"the tensor {quoted(name)} has rows of {row} elements, {block}")
    offset = cursor.u64()
    size = kind.size_bytes(prod(shape))
    return TensorInfo(name=name, shape=shape, type_name=kind.name, offset=offset, size_bytes=size)


def _read_shape(cursor: Cursor, name: str) -> tuple[int, ...]:
    dimensions = cursor.u32()
    if dimensions > MAX_DIMENSIONS:
        raise damaged(f"the tensor {quoted(name)} has {dimensions} dimensions, {MAX_DIMENSIONS} are the most")
    shape = tuple(cursor.u64() for _ in range(dimensions))
    if 0 in shape:  # ggml of 2025 divides by it
        raise damaged(f"the tensor {quoted(name)} is empty")
    if prod(shape) >= _MAX_ELEMENTS:
        raise damaged(f"the tensor {quoted(name)} has {prod(shape)} elements, which no machine can hold")
    return shape


def _type_of(number: int, name: str) -> TensorType:
    if number in REMOVED_TYPES:
        raise damaged(f"the tensor {quoted(name)} has the type {REMOVED_TYPES[number]}, which llama.cpp gave up")
    if number not in TENSOR_TYPES:
        raise damaged(f"the tensor {quoted(name)} has the unknown type {number}")
    return TENSOR_TYPES[number]
