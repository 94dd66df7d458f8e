"""The types that a user may ask for: those of files, which are mixtures, and those of single tensors."""

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct

from localllm.errors import InvalidRequest
from localllm.models.gguf.quant import FILE_TYPES
from localllm.models.gguf.tensor_types import TENSOR_TYPES
from localllm.models.reference import shown

_NUMBERS = {name: number for number, name in FILE_TYPES.items()}
_TENSOR_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}

_WITH_Q5_K_OUTPUT = {"IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}


class QuantType(Struct, frozen=True, kw_only=True):
    """A type of file, of those that llama.cpp can make of any model with rows that fit."""

    name: str
    tensor_types: tuple[str, ...]  # of the matrices in its layers, the one that most are of first
    words: str  # what it is good for
    needs_calibration: bool = False  # where rows fit: most of it means nothing without an importance matrix

    @property
    def number(self) -> int:
        """llama_ftype."""
        return _NUMBERS[self.name]

    @property
    def block_elements(self) -> int:
        """Rows of another length than a multiple of this become another type."""
        return _TENSOR_TYPES[self.tensor_types[0]].block_elements

    @property
    def bits(self) -> float:
        """What a weight takes in the tensors that most are. A whole file has more."""
        kind = _TENSOR_TYPES[self.tensor_types[0]]
        return kind.block_bytes * 8 / kind.block_elements

    @property
    def output_type(self) -> str:
        """Of the output, and of an embedding that is the output too, where its rows fit."""
        if self.bits >= 8 or self.name == "MXFP4_MOE":
            return self.tensor_types[-1]
        return "Q5_K" if self.name in _WITH_Q5_K_OUTPUT else "Q6_K"

    @property
    def is_quantized(self) -> bool:
        """Whether it is more than another number format."""
        return self.name not in {"F32", "BF16", "F16"}


def _table(*rows: QuantType) -> Mapping[str, QuantType]:
    return MappingProxyType({row.name: row for row in rows})


def _plain(name: str, words: str, *tensor_types: str) -> QuantType:
    return QuantType(name=name, tensor_types=tensor_types or (name,), words=words)


def _calibrated(name: str, words: str, *tensor_types: str) -> QuantType:
    return QuantType(name=name, tensor_types=tensor_types or (name,), words=words, needs_calibration=True)


QUANT_TYPES = _table(
    _plain("F32", "as exact as it gets, four bytes a weight; for measuring"),
    _plain("BF16", "what most models are trained in; slow on processors that do not know it"),
    _plain("F16", "half the size of F32, nothing lost that anyone would notice"),
    _plain("Q8_0", "hardly to be told from the original; fast, half of F16"),
    _plain("Q6_K", "very close to the original"),
    _plain("Q5_K_M", "close to the original, a third of F16", "Q5_K", "Q6_K"),
    _plain("Q5_K_S", "a little smaller than Q5_K_M, a little worse", "Q5_K"),
    _plain("Q5_1", "an older kind of 5 bits; for rows that are no multiple of 256"),
    _plain("Q5_0", "an older kind of 5 bits, smaller than Q5_1; for rows that are no multiple of 256"),
    _plain("Q4_K_M", "the best balance for most models: fast, less than a third of F16", "Q4_K", "Q6_K"),
    _plain("Q4_K_S", "a little smaller than Q4_K_M, a little worse", "Q4_K", "Q5_K"),
    _plain("IQ4_NL", "real 4 bits for rows that are no multiple of 256; better calibrated, fast"),
    _plain("IQ4_XS", "smaller than Q4_K_S and nearly as good; better calibrated, slower to make"),
    _plain("Q4_1", "an older kind of 4 bits, better than Q4_0 and larger"),
    _plain("Q4_0", "the simplest 4 bits: the fastest to read prompts with, worse than the others"),
    _plain("MXFP4_MOE", "4 bits for experts that were trained in them; only for mixtures of experts", "MXFP4", "Q8_0"),
    _plain("Q3_K_L", "3 bits with more for what matters", "Q3_K", "Q5_K"),
    _plain("Q3_K_M", "noticeably worse than 4 bits; for models that would not fit else", "Q3_K", "Q4_K", "Q5_K"),
    _plain("IQ3_M", "the best of 3 bits, best calibrated; slower", "IQ3_S", "Q4_K"),
    _plain("IQ3_S", "3 bits throughout, best calibrated; slower"),
    _plain("Q3_K_S", "3 bits throughout, fast", "Q3_K"),
    _calibrated("IQ3_XS", "a little less than 3 bits and a half; slower", "IQ3_XXS", "IQ3_S"),
    _calibrated("IQ3_XXS", "3 bits; slower", "IQ3_XXS", "IQ2_S", "IQ3_S"),
    _plain("Q2_K", "bad, yet it speaks; for large models alone", "Q2_K", "Q3_K"),
    _calibrated("IQ2_M", "the best of 2 bits; for large models alone, slow", "IQ2_S", "IQ3_S"),
    _calibrated("Q2_K_S", "smaller than Q2_K, and worse", "Q2_K"),
    _calibrated("IQ2_S", "2 bits and a half; for large models alone, slow", "IQ2_XS", "IQ3_S"),
    _calibrated("IQ2_XS", "more than 2 bits; for large models alone, slow", "IQ2_XS", "Q2_K"),
    _calibrated("IQ2_XXS", "2 bits; for very large models alone, slow", "IQ2_XXS", "Q2_K"),
    _calibrated("IQ1_M", "less than 2 bits; for the largest models, and seldom worth it", "IQ1_M", "Q2_K", "IQ2_XXS"),
    _calibrated("IQ1_S", "the smallest that still speaks, hardly", "IQ1_S", "Q2_K", "IQ2_XXS"),
    _plain("TQ2_0", "for weights that were trained to be -1, 0 or 1; ruins all others"),
    _plain("TQ1_0", "smaller than TQ2_0, for the same weights"),
    _plain("Q2_0", "for weights that were trained in 2 bits; ruins all others"),
    _plain("Q1_0", "for weights that were trained in 1 bit; ruins all others"),
)
"""In the order of quality, the best first. Weights of so few bits that only training makes them come last.

Tensor types: `llama_ftype_get_default_type` and `llama_tensor_get_type_impl` of llama.cpp's src/llama-quant.cpp.
"""

_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "FP16": "F16", "FP32": "F32", "MXFP4": "MXFP4_MOE"}
_NOT_MADE = {"NVFP4"}  # files of it exist, and run; `llama_model_quantize` has no way to one

# What `ggml_quantize_chunk` of ggml.c knows to make. The others hold numbers between two operations, or no weights.
TENSOR_TYPE_NUMBERS: Mapping[str, int] = MappingProxyType(
    {
        kind.name: number
        for number, kind in TENSOR_TYPES.items()
        if kind.name not in {"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"}
    }
)


def type_of(text: str) -> QuantType:
    """The type of file that `text` names, however it is spelt. Raises InvalidRequest with those that look like it."""
    name = text.strip().upper()
    name = _ALIASES.get(name, name)
    if name in _NOT_MADE:
        raise InvalidRequest(f"llama.cpp runs {name} and cannot make it; take Q4_K_M or IQ4_NL", param="type")
    if name not in QUANT_TYPES:
        raise InvalidRequest(f"there is no type {shown(text, 40)}; {_near(name, QUANT_TYPES)}", param="type")
    return QUANT_TYPES[name]


def tensor_type_number(text: str, param: str) -> int:
    """The ggml_type that `text` names. Raises InvalidRequest about the field `param`."""
    name = text.strip().upper()
    if name not in TENSOR_TYPE_NUMBERS:
        near = _near(name, TENSOR_TYPE_NUMBERS)
        raise InvalidRequest(f"there is no type {shown(text, 40)} for a tensor; {near}", param=param)
    return TENSOR_TYPE_NUMBERS[name]


def _near(name: str, names: Iterable[str]) -> str:
    known = list(names)
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    return f"perhaps {', '.join(near)}" if near else f"there are {', '.join(known)}"
