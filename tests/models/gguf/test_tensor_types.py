"""The table of tensor types against ggml's own, and against the reference package's."""

import subprocess
import sys

import gguf
import pytest

from localllm.models.gguf.quant import FILE_TYPES
from localllm.models.gguf.tensor_types import REMOVED_TYPES, TENSOR_TYPES

WRONG_THERE = {"Q8_1"}  # the package says 40 bytes, ggml's block_q8_1 has 36
NEWER = {41}  # file types that the package does not know yet
NATIVE = """
import ctypes, llama_cpp
from pathlib import Path
library = next((Path(llama_cpp.__file__).parent / "lib").glob("*ggml-base*"))
ggml = ctypes.CDLL(str(library))
ggml.ggml_type_size.restype = ctypes.c_size_t
ggml.ggml_blck_size.restype = ctypes.c_int64
ggml.ggml_type_name.restype = ctypes.c_char_p
for number in map(int, input().split()):
    print(ggml.ggml_type_name(number).decode().upper(), ggml.ggml_blck_size(number), ggml.ggml_type_size(number))
"""


@pytest.mark.parametrize("kind", gguf.GGML_QUANT_SIZES, ids=lambda kind: kind.name)
def test_the_reference_package_says_the_same(kind: gguf.GGMLQuantizationType) -> None:
    ours = TENSOR_TYPES[int(kind)]
    assert ours.name == kind.name
    if ours.name not in WRONG_THERE:
        assert (ours.block_elements, ours.block_bytes) == gguf.GGML_QUANT_SIZES[kind]


def test_the_native_library_says_the_same() -> None:
    """In a process of its own: this one does not load native libraries."""
    numbers = sorted([*TENSOR_TYPES, *REMOVED_TYPES])
    said = subprocess.run(
        [sys.executable, "-c", NATIVE],
        input=" ".join(map(str, numbers)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for number, line in zip(numbers, said, strict=True):
        name, elements, size = line.rsplit(" ", 2)
        if number in REMOVED_TYPES:
            assert (int(elements), int(size)) == (0, 0)
        else:
            ours = TENSOR_TYPES[number]
            assert (name, int(elements), int(size)) == (ours.name, ours.block_elements, ours.block_bytes)


def test_no_type_is_both_known_and_removed() -> None:
    assert not TENSOR_TYPES.keys() & REMOVED_TYPES.keys()
    assert sorted(TENSOR_TYPES.keys() | REMOVED_TYPES.keys()) == list(range(43))


@pytest.mark.parametrize("number", sorted(FILE_TYPES.keys() - NEWER))
def test_file_types_are_called_as_in_the_reference_package(number: int) -> None:
    assert gguf.LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_") == FILE_TYPES[number]
