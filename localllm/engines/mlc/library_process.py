"""A process that finds the device and the compiled library of a model: JSON on stdin, JSON on stdout.

When its stdin ends, it ends, and the compiler that it may have started with it, whatever they are doing.

python -P -m localllm.engines.mlc.library_process
"""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import msgspec

from localllm.engines.mlc.devices import choose_device
from localllm.engines.mlc.leash import end_with_stdin
from localllm.engines.mlc.library import Library, LibraryFault, LibraryOrder
from localllm.engines.mlc.native import failure_words, open_native
from localllm.errors import LoadFailed, LocalLLMError


class _Compiled(Protocol):
    """JITResult of mlc_llm/interface/jit.py."""

    model_lib_path: str


def main() -> None:
    """Carry out the one order that comes."""
    stdout = os.dup(1)
    os.dup2(2, 1)  # what MLC and its compiler print goes to stderr
    sys.stdout = sys.stderr
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=LibraryOrder)
    end_with_stdin()
    try:
        answer: Library | LibraryFault = found(order)
    except LocalLLMError as error:
        answer = LibraryFault(code=error.code, message=error.message)
    with os.fdopen(stdout, "wb") as file:
        file.write(msgspec.json.encode(answer) + b"\n")
    os._exit(0)  # stdin is still being read


def found(order: LibraryOrder) -> Library:
    """The device, and the library for it. Raises EngineUnavailable, ConfigError, LoadFailed."""
    native = open_native()
    kind, index = choose_device(order.device, native)
    path = order.model_lib or _compiled(order, native.device(kind, index))
    return Library(kind=kind, index=index, path=path, build=native.build)


def _compiled(order: LibraryOrder, device: object) -> str:
    """As MLC's engine would have it compiled (mlc_llm/serve/engine_base.py). Raises LoadFailed."""
    try:
        jit = cast(Callable[..., _Compiled], importlib.import_module("mlc_llm.interface.jit").jit)
        return jit(model_path=Path(order.folder), overrides={}, device=device).model_lib_path
    except Exception as error:  # it raises whatever its many parts do
        raise LoadFailed(f"MLC cannot compile this model: {failure_words(error)}") from error


if __name__ == "__main__":
    main()
