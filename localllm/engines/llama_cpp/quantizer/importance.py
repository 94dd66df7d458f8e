"""What llama.cpp's quantizer needs an importance matrix for, and whether one is of this model.

Sources: `tensor_requires_imatrix` and the use of `imatrix_data` in llama.cpp's src/llama-quant.cpp, and
`ggml_quantize_chunk` of ggml.c. Where the data do not fit, the library gives up in the middle of its work; where they
are missing, it ends the process for some types, and says nothing for others.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from localllm.engines.llama_cpp.quantizer.log import PlannedTensor
from localllm.engines.llama_cpp.quantizer.order import EMBEDDINGS, OUTPUT, Importance, Order
from localllm.errors import InvalidRequest
from localllm.models.gguf.tensors import TensorInfo
from localllm.models.reference import shown

_Q2_K_S = 21  # llama_ftype, the only one whose Q2_K needs it
_NEEDY = {"IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}
_NEEDY_EVERYWHERE = {"IQ2_XS", "IQ2_XXS", "IQ1_S"}  # also in the embedding and the output: `ggml_quantize_chunk`
_RARELY_MEASURED = {*EMBEDDINGS, OUTPUT}
_UNWEIGHTED = {"F32", "F16", "BF16"}
_PARAM = "importance"


def check_importance(
    order: Order, planned: Sequence[PlannedTensor], sources: Mapping[str, TensorInfo]
) -> tuple[str, ...]:
    """Warnings about what it says nothing of. `sources` are the tensors by their new names.

    Raises InvalidRequest where it is missing, incomplete or of another model.
    """
    weighted = [tensor for tensor in planned if tensor.type not in {tensor.source_type, *_UNWEIGHTED}]
    if not order.importance:
        _check_not_needed(order, weighted)
        return ()
    bare = [tensor for tensor in weighted if not _has_values(order.importance, sources[tensor.name])]
    if weighted and len(bare) == len(weighted):
        raise _foreign("it says nothing of any tensor")
    if needy := next((tensor for tensor in bare if _needs(order, tensor)), None):
        raise InvalidRequest(
            f"the importance matrix says nothing of {shown(needy.name)}, which cannot be {needy.type} without; "
            f"{'give it another type' if needy.name in _RARELY_MEASURED else 'calibrate with a longer text'}",
            param=_PARAM,
        )
    missing = [tensor.name for tensor in bare if tensor.name not in _RARELY_MEASURED]
    if not missing:
        return ()
    return (f"the importance matrix says nothing of {len(missing)} tensors, such as {shown(missing[0])}",)


def _check_not_needed(order: Order, weighted: Sequence[PlannedTensor]) -> None:
    needy = next((tensor for tensor in weighted if _needs(order, tensor)), None)
    if needy is not None:
        raise InvalidRequest(
            f"{shown(needy.name)} cannot be {needy.type} without an importance matrix; add --calibrate default, or "
            "--calibrate with a text of your own",
            param=_PARAM,
        )


def _needs(order: Order, tensor: PlannedTensor) -> bool:
    if tensor.name in _RARELY_MEASURED:
        return tensor.type in _NEEDY_EVERYWHERE
    return tensor.type in _NEEDY or (tensor.type == "Q2_K" and order.file_type == _Q2_K_S)


def _has_values(importance: Importance, source: TensorInfo) -> bool:
    """Whether the library would use what there is. Raises InvalidRequest for values that are not of this tensor."""
    values = importance.get(source.name)
    if values is None:
        return False
    _check_values(source.name, values)
    row, matrices = source.shape[0], source.shape[2] if len(source.shape) > 2 else 1
    if values.size == row * matrices:
        return True
    if source.name in EMBEDDINGS:  # the library leaves it at that
        return False
    raise _foreign(f"it has {values.size} values for {shown(source.name)}, which has {row * matrices} columns")


def _check_values(name: str, values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all() or (values < 0).any():
        raise InvalidRequest(
            f"the importance matrix has values for {shown(name)} that are no mean squares; calibrate again",
            param=_PARAM,
        )


def _foreign(why: str) -> InvalidRequest:
    return InvalidRequest(f"the importance matrix is of another model: {why}; calibrate with this one", param=_PARAM)
