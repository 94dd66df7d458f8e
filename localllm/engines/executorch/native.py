"""ExecuTorch's runtime: finding it, its threads, and what it brings. The only importer of its bindings.

Loading a program through `executorch.runtime` imports the exporter too (torchao, exir): 8 s of processor time and
140 MB, measured. The bindings need torch alone (2 s), so they are imported from where they lie.
"""

import importlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from localllm.engines.executorch.openvino_version import installed_openvino, is_too_new
from localllm.errors import EngineUnavailable

INSTALL = 'pip install "localllm[executorch]"'

_BINDINGS = "executorch.extension.pybindings._C"
_BINDINGS_AND_MORE = "executorch.extension.pybindings.portable_lib"  # the same, after exir and what openvino needs
_KERNELS = ("extension/llm/custom_ops", "kernels/quantized")  # folders: llama::custom_sdpa; embeddings of 4 and 8 bits

# What the bindings raise. Failures of native code that it notices are RuntimeErrors with a number.
NATIVE_ERRORS = (RuntimeError, MemoryError, ValueError, TypeError, IndexError)

Integers = NDArray[np.int32] | NDArray[np.int64]


class Tensor(Protocol):
    """A torch.Tensor, as far as it is used."""

    @property
    def shape(self) -> Sequence[int]:
        """Its sizes."""
        ...

    def float(self) -> "Tensor":
        """As float32; itself where it is that already."""
        ...

    def numpy(self) -> NDArray[np.float32]:
        """A view of its memory."""
        ...


class TensorMeta(Protocol):
    """What a program says of an input or an output."""

    def sizes(self) -> tuple[int, ...]:
        """The most of each dimension."""
        ...

    def dtype(self) -> int:
        """A number of ScalarType (executorch/schema/scalar_type.fbs)."""
        ...


class MethodMeta(Protocol):
    """What a program says of a method. The tensor functions raise RuntimeError for what is no tensor."""

    def num_inputs(self) -> int: ...  # noqa: D102  # the names say it
    def num_outputs(self) -> int: ...  # noqa: D102
    def input_tensor_meta(self, index: int) -> TensorMeta: ...  # noqa: D102
    def output_tensor_meta(self, index: int) -> TensorMeta: ...  # noqa: D102


class NativeMethod(Protocol):
    """A loaded method: weights packed, memory planned."""

    def __call__(self, inputs: Sequence[Tensor], clone_outputs: bool = True) -> Sequence[Tensor]:
        """Run it. Without `clone_outputs` tensors are views into its memory, good until it runs again.

        Raises RuntimeError with a number of executorch::runtime::Error. Some wrong inputs end the process.
        """
        ...


class NativeProgram(Protocol):
    """A program file, mapped and verified. Its methods share one memory: running one spoils what another holds."""

    def num_methods(self) -> int: ...  # noqa: D102
    def get_method_name(self, method_index: int) -> str: ...  # noqa: D102
    def method_meta(self, method_name: str) -> MethodMeta: ...  # noqa: D102

    def load_method(self, method_name: str) -> NativeMethod:
        """Raises RuntimeError with a number of executorch::runtime::Error."""
        ...


class _Verification(Protocol):
    InternalConsistency: object


class _Bindings(Protocol):
    Verification: _Verification

    def _load_program(self, path: str, *, program_verification: object) -> NativeProgram: ...
    def _get_operator_names(self) -> list[str]: ...
    def _get_registered_backend_names(self) -> list[str]: ...
    def _is_available(self, backend_name: str) -> bool: ...
    def _unsafe_reset_threadpool(self, num_threads: int) -> None: ...
    def _threadpool_get_thread_count(self) -> int: ...


class _Torch(Protocol):
    def from_numpy(self, array: Integers) -> Tensor: ...


class Runtime:
    """The native library of this process, its kernels and its back ends."""

    def __init__(self, bindings: _Bindings, torch: _Torch) -> None:
        self._bindings = bindings
        self._torch = torch
        self.build = f"executorch {_version()}"
        self.threads = bindings._threadpool_get_thread_count()
        self.operators = frozenset(bindings._get_operator_names())
        self.registered = frozenset(bindings._get_registered_backend_names())  # back ends that it was built with

    def has_back_end(self, name: str) -> bool:
        """Whether it was built in, and calls itself available. Some log that they miss what they need."""
        return name in self.registered and self._bindings._is_available(name)

    def load_program(self, path: str) -> NativeProgram:
        """Map and verify a file that `read_program` has read. Raises RuntimeError."""
        return self._bindings._load_program(path, program_verification=self._bindings.Verification.InternalConsistency)

    def tensor(self, array: Integers) -> Tensor:
        """A tensor over the memory of `array`."""
        return self._torch.from_numpy(array)


_opened: list[Runtime] = []  # at most one


def open_runtime(threads: int) -> Runtime:
    """The runtime of this process, with so many threads if this is the first call: the pool cannot be changed once a
    method was loaded (that ends the process). Raises EngineUnavailable."""
    if not _opened:
        _opened.append(_open(threads))
    return _opened[0]


def is_installed() -> bool:
    """Whether the packages are here; imports none of them."""
    return all(importlib.util.find_spec(name) for name in ("executorch", "torch", "tokenizers"))


def _open(threads: int) -> Runtime:
    if not is_installed():
        raise EngineUnavailable(f"ExecuTorch is not installed, which runs .pte programs; install it: {INSTALL}")
    with _quiet():
        try:
            torch = importlib.import_module("torch")
            bindings = cast(_Bindings, _import_bindings())
            for library in _kernel_libraries():
                torch.ops.load_library(str(library))
        except (ImportError, AttributeError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise EngineUnavailable(
                f"executorch {_version()} cannot be loaded with torch {_version('torch')}: {reason}; "
                f"install those that fit: {INSTALL}"
            ) from error
        bindings._unsafe_reset_threadpool(threads)
    return Runtime(bindings, cast(_Torch, torch))


def _import_bindings() -> object:
    """The bindings alone, or by the way that the package itself goes: where they have moved, and where more must be
    set up first (folders of DLLs, openvino's library)."""
    has_openvino = importlib.util.find_spec("openvino") is not None and not is_too_new(installed_openvino())
    if sys.platform != "win32" and not has_openvino:
        with suppress(ImportError):
            return importlib.import_module(_BINDINGS)
    return importlib.import_module(_BINDINGS_AND_MORE)


def _kernel_libraries() -> list[Path]:
    """The libraries with kernels that language models need beside the portable ones, as far as they are there: what a
    program lacks is said by name when it is loaded."""
    spec = importlib.util.find_spec("executorch")
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    return [path for root in roots for folder in _KERNELS for path in sorted((root / folder).glob("*_aot_lib.*"))]


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """The packages warn of their own matters when they are imported, and native code tells stderr about the processor:
    were the process to die, these would be its last words."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
        logging.disable(before)


def _version(package: str = "executorch") -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
