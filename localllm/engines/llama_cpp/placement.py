"""Where the layers of a model go: the devices that a plan names, as llama.cpp takes them, and what stays in memory."""

import ctypes
import re
from collections.abc import Sequence
from functools import cached_property

import llama_cpp as lib

from localllm.devices.fit import Fit, fit_kv
from localllm.devices.footprint import KvType, check_flash_attention, values_bytes
from localllm.engines.llama_cpp.ggml import FunctionMissing, Functions, Signatures, bind_functions
from localllm.engines.llama_cpp.native import Handle
from localllm.engines.plan import LoadPlan, Placement
from localllm.errors import ConfigError, EngineUnavailable
from localllm.models.gguf.facts import ModelFacts
from localllm.models.gguf.header import GgufHeader

GGML_TYPES: dict[KvType, int] = {"f16": 1, "q8_0": 8}  # enum ggml_type
_OFFLOADABLE = (1, 2)  # enum ggml_backend_dev_type: GPU, integrated GPU
_LAYER = re.compile(r"blk\.(\d+)\.")

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_SIGNATURES: Signatures = {
    "ggml_backend_dev_count": (_SIZE, []),
    "ggml_backend_dev_get": (_POINTER, [_SIZE]),
    "ggml_backend_dev_name": (ctypes.c_char_p, [_POINTER]),
    "ggml_backend_dev_type": (ctypes.c_int, [_POINTER]),
}


class LayerPlacement:
    """The placement of one model. The arrays that its parameters point to live as long as it does."""

    def __init__(self, plan: Placement, headers: Sequence[GgufHeader], facts: ModelFacts) -> None:
        """Raises EngineUnavailable for a device that is not here, ConfigError for shares that do not go with them."""
        self._facts = facts
        self._headers = headers
        self._names = plan.devices if plan.gpu_layers else ()
        self.layers = facts.layers + 1  # the output is one more
        wanted = self.layers if plan.gpu_layers < 0 else min(plan.gpu_layers, self.layers)
        self.gpu_layers = wanted if self._names else 0
        handles = _handles(self._names)
        self._devices = (ctypes.c_void_p * (len(handles) + 1))(*handles, None)
        self._split = (ctypes.c_float * int(lib.llama_max_devices()))(*_checked_split(plan, len(handles)))

    @property
    def is_on_cpu(self) -> bool:
        """Whether nothing is offloaded."""
        return self.gpu_layers == 0

    @property
    def words(self) -> str:
        """For `info.device`: "cpu", "CUDA0 (all layers)" or "CUDA0 (15 of 31 layers)"."""
        if self.is_on_cpu:
            return "cpu"
        part = "all" if self.gpu_layers == self.layers else f"{self.gpu_layers} of {self.layers}"
        return f"{', '.join(self._names)} ({part} layers)"

    def apply(self, params: Handle) -> None:
        """Set what llama_model_params has for it. An empty list of devices keeps a build for GPUs off them."""
        params.devices = ctypes.cast(self._devices, ctypes.c_void_p)
        params.n_gpu_layers = self.gpu_layers
        params.main_gpu = 0
        params.split_mode = lib.LLAMA_SPLIT_MODE_LAYER
        if len(self._names) > 1 and any(self._split):
            params.tensor_split = ctypes.cast(self._split, ctypes.POINTER(ctypes.c_float))

    @cached_property
    def host_weights_bytes(self) -> int:
        """Of the weights, what stays in the machine's memory."""
        first = self.layers - self.gpu_layers
        tensors = [tensor for header in self._headers for tensor in header.tensors]
        return self._facts.weights_bytes - sum(
            tensor.size_bytes for tensor in tensors if _place(tensor.name, self.layers) >= first
        )

    def fit(self, plan: LoadPlan, room_bytes: int, trained_tokens: int) -> Fit:
        """Context and slots for this plan, with so much of the machine's memory left.

        KV of offloaded layers is the GPU's, whose driver says when it has no room. Raises NoRoom, LoadFailed.
        """
        attention = self._facts.attention
        here = self.layers - self.gpu_layers
        heads = attention.kv_heads[:here] if plan.context_tokens and plan.max_jobs else attention.kv_heads
        return fit_kv(
            bytes_per_token=values_bytes(sum(heads) * (attention.key_length + attention.value_length), plan.kv_type),
            trained_tokens=trained_tokens,
            available_bytes=room_bytes,
            context=plan.context_tokens,
            jobs=plan.max_jobs,
        )


def flash_attention_of(plan: LoadPlan, jobs: int, *, is_on_cpu: bool) -> bool:
    """Measured on a CPU (docs/performance.md): on is faster for several answers at once, off for one with a long
    context. On a GPU it is on, and with KV in q8_0 there is no other way. Raises ConfigError where that was asked for.
    """
    if plan.kv_type != "f16":
        check_flash_attention(plan.kv_type, plan.flash_attention)
        return True
    if plan.flash_attention is not None:
        return plan.flash_attention
    return jobs > 1 or not is_on_cpu


def _checked_split(plan: Placement, devices: int) -> tuple[float, ...]:
    if plan.split and devices and len(plan.split) != devices:
        raise ConfigError(f"{len(plan.split)} shares of layers do not go with {devices} devices")
    return plan.split if devices else ()


def _place(name: str, layers: int) -> int:
    """The layer that a tensor belongs to; the output is the last. -1: what tokens are looked up in, never moved."""
    match = _LAYER.match(name)
    if match:
        return int(match[1])
    return layers - 1 if name.startswith("output") else -1


def _handles(names: Sequence[str]) -> list[int]:
    """Devices of ggml's registry, by name. Raises EngineUnavailable with those that there are."""
    if not names:
        return []
    try:
        there = _registered(bind_functions(_SIGNATURES))
    except FunctionMissing as error:
        raise EngineUnavailable(f"this build of llama.cpp does not tell of its devices: {error}") from error
    missing = next((name for name in names if name not in there), None)
    if missing is not None:
        others = f"there is {', '.join(there)}" if there else "this build or this machine has no GPU for it"
        raise EngineUnavailable(f"llama.cpp has no device {missing[:40]!r} here; {others} (see: localllm devices)")
    return [there[name] for name in names]


def _registered(functions: Functions) -> dict[str, int]:
    """Handles of all GPUs by name."""
    handles = [functions["ggml_backend_dev_get"](place) for place in range(functions["ggml_backend_dev_count"]())]
    return {
        (functions["ggml_backend_dev_name"](handle) or b"").decode("utf-8", "replace"): handle
        for handle in handles
        if functions["ggml_backend_dev_type"](handle) in _OFFLOADABLE
    }
