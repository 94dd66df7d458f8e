"""What the files of an installed llama.cpp say of the devices it may use."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest

from localllm.engines.llama_cpp.gpu_library import gpu_libraries, has_gpu_library

CPU = ["libllama.so", "libllama.so.0", "libggml.so", "libggml-base.so", "libggml-cpu.so", "libggml-cpu.so.0.25.3"]


def folder(path: Path, names: list[str]) -> Path:
    for name in names:
        (path / name).touch()
    return path


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (CPU, ()),
        ([*CPU, "libggml-blas.so", "libggml-rpc.so"], ()),
        ([*CPU, "libggml-cuda.so", "libggml-cuda.so.0"], ("cuda",)),
        (["libllama.so", "libggml-cpu-haswell.so", "libggml-cpu-x64.so", "libggml-vulkan.so"], ("vulkan",)),
        (["libllama.dylib", "libggml-cpu.dylib", "libggml-metal.0.9.4.dylib", "libggml-blas.dylib"], ("metal",)),
        (["llama.dll", "ggml.dll", "ggml-base.dll", "ggml-cpu.dll", "ggml-hip.dll", "ggml-sycl.dll"], ("hip", "sycl")),
        ([*CPU, "libggml-opencl.so", "ggml-metal.metal", "ggml-cuda.h"], ("opencl",)),
    ],
)
def test_libraries_by_their_names(tmp_path: Path, names: list[str], found: tuple[str, ...]) -> None:
    place = folder(tmp_path, names)
    assert gpu_libraries(place) == found
    assert has_gpu_library(place) == bool(found)


def test_a_build_in_one_piece_may_have_anything(tmp_path: Path) -> None:
    place = folder(tmp_path, ["libllama.so", "libmtmd.so"])
    assert has_gpu_library(place)
    assert gpu_libraries(place) == ()


def test_where_there_is_no_library_there_is_no_gpu(tmp_path: Path) -> None:
    assert not has_gpu_library(tmp_path)
    assert not has_gpu_library(tmp_path / "none")


def test_the_package_is_found_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llama_cpp"
    (package / "lib").mkdir(parents=True)
    folder(package / "lib", [*CPU, "libggml-cuda.so"])
    spec = importlib.machinery.ModuleSpec("llama_cpp", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    assert has_gpu_library()
    assert "llama_cpp" not in sys.modules
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not has_gpu_library()
