"""ggml's functions and `struct ggml_tensor` for ctypes: what llama-cpp-python does not bind (ggml/include/ggml*.h)."""

import ctypes
import functools
from collections.abc import Mapping
from pathlib import Path

import llama_cpp as lib

from localllm.engines.llama_cpp.native import Handle

F32, F16, I32 = 0, 1, 26  # ggml_type
CPU = 0  # GGML_BACKEND_DEVICE_TYPE_CPU
DIMENSIONS, SOURCES, NAME_BYTES = 4, 10, 64  # GGML_MAX_DIMS, GGML_MAX_SRC, GGML_MAX_NAME with the NUL

_LIBRARIES = ("ggml-base", "ggml")
_FILE_NAMES = ("lib{}.so", "lib{}.dylib", "{}.dll", "lib{}.dll")


class TensorFields(ctypes.Structure):
    """`struct ggml_tensor`, which is no stable interface: only `tensor_view`, which checks it, may read one.

    What begins with _ is there for the offsets of the others.
    """

    _fields_ = (
        ("type", ctypes.c_int),
        ("_buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * DIMENSIONS),
        ("nb", ctypes.c_size_t * DIMENSIONS),
        ("op", ctypes.c_int),
        ("_op_params", ctypes.c_int32 * 16),
        ("_flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * SOURCES),
        ("_view_src", ctypes.c_void_p),
        ("_view_offset", ctypes.c_size_t),
        ("_data", ctypes.c_void_p),
        ("name", ctypes.c_char * NAME_BYTES),
        ("_extra", ctypes.c_void_p),
        ("_padding", ctypes.c_char * 8),
    )


class InitParams(ctypes.Structure):
    """`struct ggml_init_params`."""

    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


class FunctionMissing(Exception):  # noqa: N818 - told to the user as EngineUnavailable
    """The library has no function of this name."""


Functions = Mapping[str, Handle]

_POINTER, _INT, _SIZE, _TEXT, _NE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int64
Signatures = Mapping[str, tuple[type | None, list[type]]]  # what each function returns and takes
_SIGNATURES: Signatures = {
    "ggml_init": (_POINTER, [InitParams]),
    "ggml_free": (None, [_POINTER]),
    "ggml_new_tensor_4d": (_POINTER, [_POINTER, _INT, _NE, _NE, _NE, _NE]),
    "ggml_set_name": (_POINTER, [_POINTER, _TEXT]),
    "ggml_mul_mat": (_POINTER, [_POINTER, _POINTER, _POINTER]),
    "ggml_mul_mat_id": (_POINTER, [_POINTER, _POINTER, _POINTER, _POINTER]),
    "ggml_permute": (_POINTER, [_POINTER, _POINTER, _INT, _INT, _INT, _INT]),
    "ggml_new_graph": (_POINTER, [_POINTER]),
    "ggml_build_forward_expand": (None, [_POINTER, _POINTER]),
    "ggml_op_name": (_TEXT, [_INT]),
    "ggml_op_desc": (_TEXT, [_POINTER]),
    "ggml_type_name": (_TEXT, [_INT]),
    "ggml_nbytes": (_SIZE, [_POINTER]),
    "ggml_tensor_overhead": (_SIZE, []),
    "ggml_backend_init_by_type": (_POINTER, [_INT, _TEXT]),
    "ggml_backend_free": (None, [_POINTER]),
    "ggml_backend_alloc_ctx_tensors": (_POINTER, [_POINTER, _POINTER]),
    "ggml_backend_buffer_free": (None, [_POINTER]),
    "ggml_backend_graph_compute": (_INT, [_POINTER, _POINTER]),
    "ggml_backend_tensor_set": (None, [_POINTER, _POINTER, _SIZE, _SIZE]),
    "ggml_backend_tensor_get": (None, [_POINTER, _POINTER, _SIZE, _SIZE]),
}


def bind_functions(signatures: Signatures = _SIGNATURES) -> Functions:
    """The functions by name. Raises FunctionMissing, which names the first that is not there."""
    return {name: _bound(name, result, arguments) for name, (result, arguments) in signatures.items()}


def _bound(name: str, result: type | None, arguments: list[type]) -> Handle:
    for library in _libraries():
        try:
            function = library[name]  # a new object: those of the bindings keep their own signatures
        except AttributeError:
            continue
        function.restype, function.argtypes = result, arguments
        return function
    raise FunctionMissing(f"{name} is missing")


@functools.cache
def _libraries() -> tuple[ctypes.CDLL, ...]:
    """libllama, through which Linux and macOS find ggml's symbols as well, and ggml's own libraries beside it, which
    Windows needs. They are loaded already: this names them."""
    llama: ctypes.CDLL = lib.llama_cpp._lib
    folder = Path(llama._name).parent
    paths = [folder / name.format(stem) for stem in _LIBRARIES for name in _FILE_NAMES]
    return (llama, *(ctypes.CDLL(str(path)) for path in paths if path.is_file()))
