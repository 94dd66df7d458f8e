"""The devices that llama.cpp computes on, from ggml's own registry (ggml/include/ggml-backend.h)."""

import ctypes
from types import MappingProxyType

from localllm.devices.cpu import available_memory_bytes
from localllm.engines.back_ends import BackEnd, Device, DeviceKind, EngineReport
from localllm.engines.llama_cpp.ggml import FunctionMissing, Functions, Signatures, bind_functions
from localllm.engines.llama_cpp.gpu_library import GPU_REMEDY
from localllm.engines.llama_cpp.native import BUILD, Handle, supports_gpu

NO_GPU = "this build has no back end for a GPU"
NO_DEVICE = "it finds no device"
DRIVER_REMEDY = "install the driver of the device, or let this process see it"
# enum ggml_backend_dev_type. More of them may come; 4 stands for several devices together.
_KINDS: MappingProxyType[int, DeviceKind] = MappingProxyType({0: "cpu", 1: "gpu", 2: "igpu", 3: "accelerator"})

_POINTER, _SIZE, _TEXT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
_SIGNATURES: Signatures = {
    "ggml_backend_reg_count": (_SIZE, []),
    "ggml_backend_reg_get": (_POINTER, [_SIZE]),
    "ggml_backend_reg_name": (_TEXT, [_POINTER]),
    "ggml_backend_reg_dev_count": (_SIZE, [_POINTER]),
    "ggml_backend_reg_dev_get": (_POINTER, [_POINTER, _SIZE]),
    "ggml_backend_dev_name": (_TEXT, [_POINTER]),
    "ggml_backend_dev_description": (_TEXT, [_POINTER]),
    "ggml_backend_dev_type": (ctypes.c_int, [_POINTER]),
    "ggml_backend_dev_memory": (None, [_POINTER, ctypes.POINTER(_SIZE), ctypes.POINTER(_SIZE)]),
}


def report() -> EngineReport:
    """What llama.cpp can use here. A driver may end the process meanwhile."""
    try:
        registry = _Registry(bind_functions(_SIGNATURES))
    except FunctionMissing as error:
        reason = f"this build does not tell of its devices: {error}"
        return EngineReport(engine="llama_cpp", is_usable=True, build=BUILD, has_gpu=supports_gpu(), reason=reason)
    back_ends = registry.back_ends()
    has_gpu = supports_gpu() and registry.has_gpu
    if not has_gpu and all(back_end.is_usable for back_end in back_ends):
        back_ends += (BackEnd(name="GPU", is_registered=False, is_usable=False, reason=NO_GPU, remedy=GPU_REMEDY),)
    return EngineReport(engine="llama_cpp", is_usable=True, build=BUILD, has_gpu=has_gpu, back_ends=back_ends)


class _Registry:
    """ggml's back ends with their devices."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self.has_gpu = False  # after `back_ends`

    def back_ends(self) -> tuple[BackEnd, ...]:
        count = self._functions["ggml_backend_reg_count"]()
        return tuple(self._back_end(self._functions["ggml_backend_reg_get"](index)) for index in range(count))

    def _back_end(self, handle: Handle) -> BackEnd:
        count = self._functions["ggml_backend_reg_dev_count"](handle)
        get = self._functions["ggml_backend_reg_dev_get"]
        return BackEnd(
            name=_text(self._functions["ggml_backend_reg_name"](handle)),
            is_registered=True,
            is_usable=count > 0,
            devices=tuple(self._device(get(handle, index)) for index in range(count)),
            reason="" if count else NO_DEVICE,
            remedy="" if count else DRIVER_REMEDY,
        )

    def _device(self, handle: Handle) -> Device:
        kind = _KINDS.get(self._functions["ggml_backend_dev_type"](handle), "")
        self.has_gpu = self.has_gpu or kind in {"gpu", "igpu"}
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._functions["ggml_backend_dev_memory"](handle, ctypes.byref(free), ctypes.byref(total))
        free_bytes = available_memory_bytes() if kind == "cpu" else free.value  # ggml takes all of the CPU's for free
        return Device(
            name=_text(self._functions["ggml_backend_dev_name"](handle)),
            kind=kind,
            description=_text(self._functions["ggml_backend_dev_description"](handle)),
            memory_free_bytes=free_bytes if total.value else None,  # without memory of its own there is none to tell of
            memory_total_bytes=total.value or None,
        )


def _text(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace").strip()
