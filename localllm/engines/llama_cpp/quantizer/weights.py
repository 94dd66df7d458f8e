"""Weights that are too large for some types: the search for their points on a grid would overflow and end the process.

ggml's ggml-quants.c, `quantize_row_iq3_xxs_impl` and those like it, compare squares of sums of `importance * w * w` in
float32, and assert that something was found. Other types say that their data are not valid.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localllm.engines.llama_cpp.quantizer.log import PlannedTensor
from localllm.engines.llama_cpp.quantizer.order import Importance
from localllm.engines.llama_cpp.quantizer.source import Source
from localllm.errors import LoadFailed
from localllm.models.gguf.tensors import TensorInfo
from localllm.models.reference import shown

_ON_GRIDS = {"IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}
_MOST = 1e15  # of importance * w * w: blocks of 32 of them, times 15 at most, squared, stay below float32's 3e38
_LARGEST_HALF = 65504.0
_PIECE_ELEMENTS = 2**22
_FORMS: dict[str, np.dtype[np.float32 | np.float16 | np.uint16]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


def check_weights(
    planned: Sequence[PlannedTensor], sources: dict[str, TensorInfo], importance: Importance, source: Source
) -> None:
    """Raises LoadFailed, naming the tensor. Only those are read that become a type of that kind."""
    for tensor in planned:
        if tensor.type not in _ON_GRIDS or tensor.source_type not in _FORMS or tensor.type == tensor.source_type:
            continue
        old = sources[tensor.name]
        factor = max(1.0, float(importance[old.name].max())) if old.name in importance else 1.0
        if tensor.source_type == "F16" and factor * _LARGEST_HALF**2 <= _MOST:
            continue
        largest = max((_largest(piece) for piece in _pieces(source.places[old.name], old)), default=0.0)
        if not factor * largest**2 <= _MOST:  # also NaN
            raise LoadFailed(
                f"{shown(tensor.name)} cannot be {tensor.type}: its weights reach {largest:g}, and what comes in there "
                f"weighs up to {factor:g}; take a type with more bits"
            )


def _largest(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max())


def _pieces(place: tuple[Path, int], tensor: TensorInfo) -> Iterator[NDArray[np.float32]]:
    """Its weights, float32 [at most _PIECE_ELEMENTS], one piece in memory at a time. Raises LoadFailed."""
    path, offset = place
    form = _FORMS[tensor.type_name]
    try:
        with path.open("rb") as file:
            file.seek(offset)
            for start in range(0, tensor.elements, _PIECE_ELEMENTS):
                count = min(_PIECE_ELEMENTS, tensor.elements - start)
                raw = np.frombuffer(file.read(count * form.itemsize), form)
                if raw.size < count:
                    raise LoadFailed(f"{path} became shorter while it was read; leave it alone meanwhile")
                yield _as_floats(raw, tensor.type_name)
    except (OSError, ValueError) as error:  # ValueError: not whole numbers
        raise LoadFailed(f"cannot read {path}: {error}; check the path and its permissions") from error


def _as_floats(raw: NDArray[np.float32 | np.float16 | np.uint16], kind: str) -> NDArray[np.float32]:
    if kind == "BF16":  # the upper half of a float32
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.astype(np.float32)
