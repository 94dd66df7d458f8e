"""llama.cpp's quantizer (`llama_model_quantize`): one call writes a whole file, and nothing stops it but its process.

The caller has checked the headers and the order (`limits.py`): over a bad one the library may end the
process.
"""

import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import llama_cpp as lib
import numpy as np

from localllm.engines.llama_cpp.native import Handle, listening
from localllm.engines.llama_cpp.quantizer.log import OnTensor, PlannedTensor, QuantizerLog
from localllm.engines.llama_cpp.quantizer.order import Importance, Order, Override
from localllm.errors import EngineError, InvalidRequest, LoadFailed

_LONE_TYPE = re.compile(r"no tensor type fallback is defined for type (\w+)")


def plan(order: Order) -> tuple[PlannedTensor, ...]:
    """What would become of each tensor that stays, in the order in which they are written; no weight is read.

    Raises InvalidRequest for a type that has no kin with smaller blocks where rows do not fit it, LoadFailed with the
    library's words where it refuses something else, EngineError.
    """
    log = QuantizerLog()
    try:
        _call(order, b"", log, is_dry=True)
    except LoadFailed as error:
        if lone := _LONE_TYPE.search(error.message):
            raise InvalidRequest(
                f"there are rows in {order.source} that do not fit {lone[1].upper()}, which has no kin with smaller "
                "blocks; take another type",
                param="type",
            ) from error
        raise
    if not log.planned:
        raise EngineError("llama.cpp planned a quantization and did not say it in its log; is it another version?")
    return log.planned


def write(order: Order, target: Path, on_tensor: OnTensor) -> None:
    """Write the file. `on_tensor` hears the number, from 1 on, and the name of each tensor that begins.

    Raises LoadFailed with the library's words, and what `on_tensor` raised, when all is over. Either may leave a part
    of the file behind.
    """
    _call(order, os.fsencode(target), QuantizerLog(on_tensor), is_dry=False)


def _call(order: Order, target: bytes, log: QuantizerLog, *, is_dry: bool) -> None:
    importance = {name: np.ascontiguousarray(values, np.float32) for name, values in order.importance.items()}
    params = _parameters(order)
    params.imatrix = _importance_array(importance) if importance else None
    params.dry_run = is_dry
    with listening(log.hear):
        failed = lib.llama_model_quantize(os.fsencode(order.source), target, ctypes.byref(params))
    if failed:
        raise LoadFailed(f"llama.cpp cannot quantize {order.source}: {log.errors or 'it gives no reason'}")


def _parameters(order: Order) -> Handle:
    """llama_model_quantize_params without the importance."""
    params = lib.llama_model_quantize_default_params()
    params.nthread = order.threads
    params.ftype = order.file_type
    if order.output_type is not None:
        params.output_tensor_type = order.output_type
    if order.embedding_type is not None:
        params.token_embedding_type = order.embedding_type
    params.allow_requantize = order.allow_requantize
    params.pure = order.is_pure
    params.keep_split = False
    params.max_buf_size = order.most_buffer_bytes
    if order.metadata:
        params.kv_overrides = _metadata_array(order.metadata)
    if order.overrides:
        params.tt_overrides = _override_array(order.overrides)
    if order.prune_layers:
        layers = (*sorted(set(order.prune_layers)), -1)  # the library takes the first for the lowest
        params.prune_layers = (ctypes.c_int32 * len(layers))(*layers)
    return params


def _importance_array(importance: Importance) -> Handle:
    """An array of llama_model_imatrix_data, ended by one without a name.

    The values are contiguous, and outlive the array: unlike texts, ctypes does not keep them.
    """
    array = (lib.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(array, importance.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return array


def _metadata_array(metadata: Mapping[str, str | int]) -> Handle:
    """An array of llama_model_kv_override, ended by one without a key."""
    array = (lib.llama_model_kv_override * (len(metadata) + 1))()
    for entry, (key, value) in zip(array, metadata.items(), strict=False):
        entry.key = key.encode()
        if isinstance(value, str):
            entry.tag = lib.LLAMA_KV_OVERRIDE_TYPE_STR
            entry.value.val_str = value.encode()
        else:
            entry.tag = lib.LLAMA_KV_OVERRIDE_TYPE_INT
            entry.value.val_i64 = value
    return array


def _override_array(overrides: Sequence[Override]) -> Handle:
    """An array of llama_model_tensor_override, ended by one without a pattern."""
    array = (lib.llama_model_tensor_override * (len(overrides) + 1))()
    for entry, override in zip(array, overrides, strict=False):
        entry.pattern = override.pattern.encode()
        entry.type = override.type
    return array
