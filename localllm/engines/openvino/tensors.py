"""The tensors of a GGUF as constants of OpenVINO, from bytes that are read, never mapped."""

import os

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import Node
from openvino import opset13 as op

from localllm.engines.openvino.blocks import PLAIN, Bytes, Codes, plain_numbers, take_apart
from localllm.engines.openvino.shape import ELSE, GgufModel
from localllm.errors import LoadFailed
from localllm.models.files import open_regular
from localllm.models.gguf.tensors import TensorInfo

Indexes = NDArray[np.intp]
_F16_MOST = float(np.finfo(np.float16).max)


class TensorReader:
    """The tensors of one file, each read when it is asked for."""

    def __init__(self, model: GgufModel) -> None:
        self._model = model
        self._infos = {tensor.name: tensor for tensor in model.header.tensors}
        self._file = os.fdopen(open_regular(model.path), "rb")

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def close(self) -> None:
        """Give the file back; idempotent."""
        self._file.close()

    def rows(self, name: str) -> int:
        """How many rows a matrix has. Raises LoadFailed where there is none of the name."""
        return self._info(name, None).shape[-1]

    def vector(self, name: str, width: int, *, pair_heads: int = 0) -> NDArray[np.float32]:
        """The numbers of a tensor of one dimension."""
        info = self._info(name, (width,))
        if info.type_name not in PLAIN:
            raise LoadFailed(f"{self._model.path}: {name} is in {info.type_name}; {ELSE}")
        numbers = plain_numbers(self._bytes(info), info.type_name).astype(np.float32)
        return numbers[_halves(width, pair_heads)] if pair_heads else numbers

    def matrix(self, name: str, rows: int, columns: int, *, pair_heads: int = 0) -> Node:
        """A node of float32 [rows, columns] that OpenVINO keeps in the few bits it came in.

        `pair_heads`: of so many heads, rows that are neighbours in the file become one of each half.
        """
        info = self._info(name, (columns, rows))
        data = self._bytes(info)
        order = _halves(rows, pair_heads) if pair_heads else None
        if info.type_name in PLAIN:
            numbers = plain_numbers(data, info.type_name).reshape(rows, columns)
            constant = op.constant(numbers if order is None else numbers[order])
            return constant if numbers.dtype == np.float32 else op.convert(constant, "f32")
        return _dequantized(_reordered(take_apart(data, info.type_name), rows, order), rows, columns)

    def _info(self, name: str, shape: tuple[int, ...] | None) -> TensorInfo:
        info = self._infos.get(name)
        if info is None:
            raise LoadFailed(f"{self._model.path} has no tensor {name}; get a whole GGUF of this model")
        if shape is not None and info.shape != shape:
            raise LoadFailed(
                f"{self._model.path}: {name} is {_words(info.shape)}, {_words(shape)} is what its header asks for; "
                "get another GGUF of this model"
            )
        return info

    def _bytes(self, info: TensorInfo) -> Bytes:
        self._file.seek(self._model.header.data_offset + info.offset)
        data = np.empty(info.size_bytes, np.uint8)
        if self._file.readinto(data.data) != info.size_bytes:
            raise LoadFailed(f"{self._model.path} became shorter while it was read; fetch it again")
        return data


def _words(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _halves(rows: int, heads: int) -> Indexes:
    """Where the row for each place stands: 0, 2, 4, … of a head, then 1, 3, 5, …"""
    return np.arange(rows).reshape(heads, -1, 2).transpose(0, 2, 1).reshape(-1)


def _reordered(groups: Codes, rows: int, order: Indexes | None) -> Codes:
    if order is None:
        return groups

    def moved(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return values.reshape(rows, -1)[order].reshape(values.shape)

    return Codes(
        codes=moved(groups.codes).astype(np.int16, copy=False),
        scale=moved(groups.scale).astype(np.float32, copy=False),
        zero=None if groups.zero is None else moved(groups.zero).astype(np.float32, copy=False),
        bits=groups.bits,
    )


def _dequantized(groups: Codes, rows: int, columns: int) -> Node:
    """(codes - zero) × scale, in the form that OpenVINO computes with without undoing it first."""
    size = groups.codes.shape[1]
    shape = [rows, columns // size, size]
    each = (rows, columns // size, 1)
    number = op.convert(_codes(groups, shape), _float_type(groups))
    if groups.zero is not None:
        number = op.subtract(number, op.constant(groups.zero.reshape(each).astype(_number_type(groups))))
    scaled = op.multiply(number, op.constant(groups.scale.reshape(each).astype(_number_type(groups))))
    whole = op.reshape(scaled, op.constant(np.array([rows, columns], np.int64)), False)
    return op.convert(whole, "f32") if _float_type(groups) == "f16" else whole


def _codes(groups: Codes, shape: list[int]) -> Node:
    flat = groups.codes.reshape(-1)
    if groups.bits == 4:
        tensor = ov.Tensor(ov.Type.u4, ov.Shape(shape))  # owns its memory, of which the constant makes no copy
        tensor.data.reshape(-1)[:] = flat[0::2] | flat[1::2] << 4
        return op.constant(tensor)
    if groups.zero is None:
        return op.constant(flat.astype(np.int8).reshape(shape))
    return op.constant(flat.astype(np.uint8).reshape(shape))


def _fits_half(groups: Codes) -> bool:
    """Whether float16 holds the numbers; those of the K types are products of two, which may be too small for it."""
    most = max(float(np.abs(part).max(initial=0)) for part in (groups.scale, groups.zero) if part is not None)
    return most < _F16_MOST


def _float_type(groups: Codes) -> str:
    return "f16" if _fits_half(groups) else "f32"


def _number_type(groups: Codes) -> type[np.float16] | type[np.float32]:
    return np.float16 if _fits_half(groups) else np.float32
