"""What the native library was built from and for."""

import llama_cpp as lib

from localllm.engines.llama_cpp import native

COMMIT = native.COMMIT


def system_info() -> str:
    """The processor features that it uses, as llama.cpp says it: "CPU : SSE3 = 1 | AVX2 = 1 | …"."""
    return str(lib.llama_print_system_info().decode("utf-8", "replace"))
