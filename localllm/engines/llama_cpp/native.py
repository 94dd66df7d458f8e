"""The native library: loading, its log, and model metadata. The only importer of llama_cpp."""

import ctypes
import os
import re
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import llama_cpp as lib

from localllm.engines.base import OnProgress
from localllm.errors import LoadFailed, ModelError, NoRoom

_LOG_WARNING = 3  # ggml_log_level: 1 debug, 2 info, 3 warning, 4 error, 5 continues the line before
# "unable to allocate CUDA0 buffer", "failed to allocate buffer for kv cache", "failed to allocate compute pp buffers",
# "cudaMalloc failed: out of memory", "ErrorOutOfDeviceMemory": src/llama-*.cpp, ggml/src/ggml-*/
_NO_MEMORY = re.compile(
    r"(unable|failed) to allocate|out ?of ?(device ?|host ?)?memory|cudaMalloc failed", re.IGNORECASE
)
_recent_log: deque[str] = deque(maxlen=40)
_listeners: list[Callable[[int, str], None]] = []

# ctypes objects of the bindings, which have no usable static types
Handle = Any


@lib.llama_log_callback  # type: ignore[untyped-decorator]  # a ctypes function type
def _collect_log(level: int, text: bytes, _user_data: object) -> None:
    if level >= _LOG_WARNING:
        _recent_log.append(text.decode("utf-8", "replace"))
    for listen in tuple(_listeners):
        listen(level, text.decode("utf-8", "replace"))


# The library keeps the pointer: the callback object must live as long as the module.
lib.llama_log_set(_collect_log, ctypes.c_void_p(0))
lib.llama_backend_init()

BUILD = f"llama-cpp-python {lib.__version__}"


def _commit() -> str:
    """The revision of the compiled library, which LLAMA_CPP_LIB_PATH can make another than the bindings'. The symbol
    is not bound, but exported by a library that libllama brings along."""
    function = getattr(lib.llama_cpp._lib, "ggml_commit", None)
    if function is None:
        return "unknown"
    function.restype = ctypes.c_char_p
    return str(function().decode())


COMMIT = _commit()


def forget_log() -> None:
    """Let `recent_log` begin here."""
    _recent_log.clear()


def recent_log() -> str:
    """The library's last warnings and errors, one line."""
    return " ".join("".join(_recent_log).split())[-600:]


@contextmanager
def listening(listener: Callable[[int, str], None]) -> Generator[None, None, None]:
    """All that the library logs meanwhile goes to `listener` too: the level (ggml_log_level), and a line or a piece.

    An exception cannot pass through the library. The first that `listener` raises is raised at the end, and it hears
    no more.
    """
    raised: list[BaseException] = []

    def listen(level: int, text: str) -> None:
        try:
            if not raised:
                listener(level, text)
        except BaseException as error:  # also Ctrl-C, which comes to whatever Python code runs then
            raised.append(error)

    _listeners.append(listen)
    try:
        yield
    finally:
        _listeners.remove(listen)
        if raised:
            raise raised[0]


def load_model(
    paths: Sequence[str], on_progress: OnProgress, place: Callable[[Handle], None] = lambda _params: None
) -> Handle:
    """A model handle, from one file or from all parts in order. `place` sets where it goes in the llama_model_params.

    The caller has checked the headers: over a bad one the library may end the process. Raises NoRoom or LoadFailed,
    with the library's own words.
    """
    params = lib.llama_model_default_params()

    @lib.llama_progress_callback  # type: ignore[untyped-decorator]
    def report(fraction: float, _user_data: object) -> bool:
        on_progress(fraction)
        return True

    params.progress_callback = report
    place(params)
    forget_log()
    names = (ctypes.c_char_p * len(paths))(*(os.fsencode(path) for path in paths))
    model = lib.llama_model_load_from_splits(names, len(paths), params)
    if not model:
        raise _refusal(f"llama.cpp cannot load {paths[0]}")
    return model


def new_context(model: Handle, **fields: object) -> Handle:
    """A context handle; keyword arguments set fields of llama_context_params. Raises NoRoom, LoadFailed."""
    params = lib.llama_context_default_params()
    for name, value in fields.items():
        setattr(params, name, value)
    forget_log()
    context = lib.llama_init_from_model(model, params)
    if not context:
        raise _refusal("llama.cpp cannot make a context")
    return context


def _refusal(what: str) -> ModelError:
    """The library tells only in its log why it gave no handle."""
    words = recent_log()
    kind = NoRoom if _NO_MEMORY.search(words) else LoadFailed
    return kind(f"{what}: {words or 'it gives no reason'}")


def metadata(model: Handle, key: str) -> str | None:
    """A metadata value of the model file as text, or None."""
    size = lib.llama_model_meta_val_str(model, key.encode(), None, 0)
    if size < 0:
        return None
    buffer = ctypes.create_string_buffer(size + 1)
    lib.llama_model_meta_val_str(model, key.encode(), buffer, size + 1)
    return buffer.value.decode("utf-8", "replace")


def architecture(model: Handle) -> str:
    """What the model is a kind of, such as "llama"; it begins the names of most metadata."""
    return metadata(model, "general.architecture") or ""


def supports_gpu() -> bool:
    """Whether the library was built for a GPU and finds one."""
    return bool(lib.llama_supports_gpu_offload())
