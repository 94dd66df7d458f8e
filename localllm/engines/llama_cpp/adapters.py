"""LoRA adapters of a loaded model (Hu et al. 2021), which can be switched between two decodes."""

import ctypes
import os
from pathlib import Path

import llama_cpp as lib

from localllm.engines.llama_cpp import native
from localllm.errors import EngineError, LoadFailed
from localllm.models.gguf.header import read_header
from localllm.types import AdapterUse


class LlamaAdapters:
    """All adapters of a model. They must be loaded before its first context, whose graph is sized by them."""

    def __init__(self, model: native.Handle, paths: dict[str, str]) -> None:
        """Load every file. Raises LoadFailed."""
        self._handles: dict[str, native.Handle] = {}
        try:
            for name, path in paths.items():
                self._handles[name] = _load(model, name, path)
        except LoadFailed:
            self.close()
            raise
        self.names = tuple(paths)

    def use(self, context: native.Handle, adapters: tuple[AdapterUse, ...]) -> None:
        """Add scale · (alpha / rank) · B·A of each of these, and of no others, to the weights from now on.

        Raises EngineError when the library refuses.
        """
        count = len(adapters)
        handles = (lib.llama_adapter_lora_p_ctypes * count)(*[self._handles[use.name] for use in adapters])
        scales = (ctypes.c_float * count)(*[use.scale for use in adapters])
        if lib.llama_set_adapters_lora(context, handles, count, scales):
            raise EngineError(f"llama.cpp could not switch adapters: {native.recent_log()}")

    def close(self) -> None:
        """Free them; idempotent. No context may use them any more."""
        for handle in self._handles.values():
            lib.llama_adapter_lora_free(handle)
        self._handles = {}


def _load(model: native.Handle, name: str, path: str) -> native.Handle:
    try:
        read_header(Path(path))  # the library may end the process over a bad one
    except LoadFailed as error:
        raise LoadFailed(f"cannot load the adapter {name} from {error.message}") from error
    native.forget_log()
    handle = lib.llama_adapter_lora_init(model, os.fsencode(path))
    if not handle:
        reason = native.recent_log() or "it gives no reason"
        raise LoadFailed(f"llama.cpp cannot load the adapter {name} from {path}: {reason}")
    if lib.llama_adapter_get_alora_n_invocation_tokens(handle):
        lib.llama_adapter_lora_free(handle)
        raise LoadFailed(
            f"the adapter {name} from {path} is an activated LoRA, which acts from certain tokens on; "
            "that is not supported, use a plain LoRA"
        )
    return handle
