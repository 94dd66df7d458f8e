"""How MLC stores weights, by its own names (mlc_llm/quantization/quantization.py).

q4f16_1: weights of 4 bits, activations of float16, layout 1. Those that want another checkpoint than of plain weights,
or a calibration of their own, are left out: q4f16_autoawq, and the ones of FP8.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from localllm.errors import InvalidRequest

DEFAULT_QUANTIZATION = "q4f16_1"


class Quantization(Struct, frozen=True, kw_only=True):
    """One of them."""

    name: str
    bits: float  # of a weight, with its share of the scales
    words: str


def _table(*rows: tuple[str, float, str]) -> Mapping[str, Quantization]:
    return MappingProxyType({name: Quantization(name=name, bits=bits, words=words) for name, bits, words in rows})


QUANTIZATIONS = _table(
    ("q4f16_1", 4.5, "4 bits in groups of 32, computed in float16; for GPUs"),
    ("q4f16_0", 4.5, "the same in the other order, input after output"),
    ("q4f16_2", 4.5, "the same with the embedding and the output in float16"),
    ("q4bf16_0", 4.5, "4 bits, computed in bfloat16"),
    ("q4bf16_1", 4.5, "4 bits, computed in bfloat16, in the other order"),
    ("q4f32_1", 5.0, "4 bits in groups of 32, computed in float32; for CPUs, and GPUs without float16"),
    ("q4f16_ft", 4.5, "4 bits in the order of FasterTransformer; for CUDA alone"),
    ("q3f16_0", 3.6, "3 bits in groups of 40, computed in float16"),
    ("q3f16_1", 3.6, "3 bits in groups of 40, in the other order"),
    ("q0f16", 16.0, "float16, not quantized"),
    ("q0bf16", 16.0, "bfloat16, not quantized"),
    ("q0f32", 32.0, "float32, not quantized"),
)


def quantization_of(name: str) -> Quantization:
    """The one of a name, however it is spelt. Raises InvalidRequest with those that there are."""
    found = QUANTIZATIONS.get(name.strip().lower())
    if found is None:
        known = ", ".join(QUANTIZATIONS)
        raise InvalidRequest(f"MLC has no quantization {name[:40]!r} to be made here; there are {known}", param="type")
    return found
