"""Whether the installed llama.cpp may compute on more than the CPU, by the names of its files: nothing is imported."""

import importlib.util
import re
from pathlib import Path

GPU_REMEDY = (
    "install a build of llama-cpp-python for your GPU: "
    "https://llama-cpp-python.readthedocs.io/en/latest/#supported-backends"
)

# What ggml's build calls its back ends (ggml/src/CMakeLists.txt, ggml_add_backend): libggml-cuda.so, ggml-vulkan.dll,
# libggml-metal.dylib; with GGML_BACKEND_DL there are several of the CPU, such as libggml-cpu-haswell.so.
_BACK_END = re.compile(r"(?:lib)?ggml-([a-z0-9]+)\b.*\.(?:so|dylib|dll)(?:\.[0-9.]+)?")
_NO_DEVICES = frozenset({"base", "cpu", "blas", "zendnn", "rpc"})  # parts of the CPU's, and another machine


def has_gpu_library(folder: Path | None = None) -> bool:
    """Whether it is worth a look at devices in a process of its own. `folder` is where LLAMA_CPP_LIB_PATH points, None
    for the one that the package has.

    A build whose back ends are not in files of their own may have any of them: the answer is yes then.
    """
    found = _back_ends(_package_folder() if folder is None else folder)
    if found is None:
        return False
    return not found or bool(found - _NO_DEVICES)


def gpu_libraries(folder: Path | None = None) -> tuple[str, ...]:
    """Those back ends that are not of the CPU, such as cuda."""
    found = _back_ends(_package_folder() if folder is None else folder)
    return tuple(sorted((found or frozenset()) - _NO_DEVICES))


def _package_folder() -> Path | None:
    """Where llama-cpp-python has its libraries (`llama_cpp/llama_cpp.py`); None where it is not installed."""
    spec = importlib.util.find_spec("llama_cpp")
    return Path(spec.origin).parent / "lib" if spec is not None and spec.origin else None


def _back_ends(folder: Path | None) -> frozenset[str] | None:
    """Names of ggml's back ends; None where there is no library at all."""
    try:
        names = [entry.name for entry in folder.iterdir()] if folder is not None else []
    except OSError:
        return None
    if not any("llama" in name for name in names):
        return None
    return frozenset(found[1] for name in names if (found := _BACK_END.fullmatch(name)))
