"""Weights out of GGUF files, as float32."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from localllm.engines.executorch.exporter.layout import Place
from localllm.errors import LoadFailed
from localllm.models.files import disk_errors
from localllm.models.gguf.header import GgufHeader
from localllm.models.gguf.tensors import TensorInfo

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]


class _Stored(Struct, frozen=True, kw_only=True):
    path: Path
    position: int  # in the file
    tensor: TensorInfo


class StoredWeights:
    """The tensors of a model, wherever in its files they lie."""

    def __init__(self, headers: Sequence[GgufHeader], paths: Sequence[Path]) -> None:
        self._stored: Mapping[str, _Stored] = {
            tensor.name: _Stored(path=path, position=header.data_offset + tensor.offset, tensor=tensor)
            for header, path in zip(headers, paths, strict=True)
            for tensor in header.tensors
        }

    def type_of(self, name: str) -> str:
        """Such as Q8_0."""
        return self._stored[name].tensor.type_name

    def read(self, name: str) -> Floats:
        """A tensor, rows first. Raises LoadFailed for a type that cannot be read, ModelError for the disk."""
        stored = self._stored[name]
        tensor = stored.tensor
        with disk_errors(f"read {stored.path}"), open(stored.path, "rb") as file:
            file.seek(stored.position)
            data = np.fromfile(file, np.uint8, tensor.size_bytes)
        if data.size < tensor.size_bytes:
            raise LoadFailed(f"{stored.path} became shorter while it was read; get it again")
        shape = tensor.shape[::-1]
        rows = data.reshape(*shape[:-1], -1) if shape else data
        try:
            values = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[tensor.type_name])
        except (KeyError, NotImplementedError) as error:
            raise LoadFailed(
                f"the tensor {name} has the type {tensor.type_name}, which cannot be turned into numbers here; "
                "take a file of another type, best F16 or Q8_0"
            ) from error
        return np.asarray(values, np.float32).reshape(shape)


def state_of(weights: StoredWeights, layout: Sequence[Place]) -> "Iterator[tuple[str, torch.Tensor]]":
    """The weights by their names in the model; an embedding that is the output as well is read and held once.

    Raises as `StoredWeights.read`.
    """
    import torch

    held: dict[tuple[str, float], torch.Tensor] = {}
    for place in layout:
        key = (place.source, place.factor)
        if key not in held:
            held[key] = torch.from_numpy(placed(weights.read(place.source), place))
        yield place.target, held[key]


def placed(values: Floats, place: Place) -> Floats:
    """The numbers as the model wants them."""
    if place.paired_heads:
        values = halved(values, place.paired_heads)
    return values if place.factor == 1.0 else values * np.float32(place.factor)


def halved(rows: Floats, heads: int) -> Floats:
    """The rows [heads * head_width, ...] of each head from neighbours, as ggml rotates, to halves (`rotate_half`)."""
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)
