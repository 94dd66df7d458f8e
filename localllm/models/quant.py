"""Quantizations: read off a file's name, ordered by quality, and the one that suits this machine."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct

from localllm.errors import ModelError, NoRoom
from localllm.units import size_words

_QUANT = (
    r"(?:UD-)?"  # Unsloth's mixtures of several types
    r"(?:MXFP4(?:_MOE)?|NVFP4|BF16|FP16|F16|FP32|F32"
    r"|[IT]?Q[1-8]_(?:K_(?:XXS|XS|S|M|L|XL)|K|XXS|XS|S|M|L|XL|NL_4_4|NL_8_8|NL|[01]_[48]_[48]|[01]))"
)
_WHOLE = re.compile(_QUANT, re.IGNORECASE)
_IN_NAME = re.compile(rf"(?<![A-Za-z0-9]){_QUANT}(?![A-Za-z0-9_])", re.IGNORECASE)
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
_REPACKED = re.compile(r"\d_\d_\d|NL_\d_\d")  # for one processor; llama.cpp now does that itself, and refuses these
_SAME = {"FP16": "F16", "FP32": "F32"}
_SHORT = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}  # what llama-quantize makes of these
_WORDY_BITS = {"MXFP4": 4, "NVFP4": 4, "MXFP4_MOE": 4, "F16": 16, "BF16": 16, "F32": 32}

BITS_PER_WEIGHT: Mapping[str, float] = MappingProxyType(
    {
        "F32": 32.0,
        "BF16": 16.0,
        "F16": 16.0,
        "Q8_K_XL": 10.5,
        "Q8_0": 8.50,
        "Q6_K_XL": 7.3,
        "Q6_K_L": 6.8,
        "Q6_K": 6.56,
        "Q5_K_XL": 5.8,
        "Q5_K_L": 5.8,
        "Q5_K_M": 5.70,
        "Q5_K_S": 5.57,
        "Q5_1": 6.05,
        "Q5_0": 5.57,
        "Q4_K_XL": 5.0,
        "Q4_K_L": 5.0,
        "Q4_K_M": 4.89,
        "Q4_K_S": 4.67,
        "IQ4_NL": 4.68,
        "IQ4_XS": 4.46,
        "Q4_1": 5.11,
        "Q4_0": 4.64,
        "NVFP4": 4.6,
        "MXFP4_MOE": 4.4,
        "MXFP4": 4.4,
        "Q3_K_XL": 4.5,
        "Q3_K_L": 4.30,
        "Q3_K_M": 4.00,
        "IQ3_M": 3.76,
        "IQ3_S": 3.66,
        "Q3_K_S": 3.64,
        "IQ3_XS": 3.50,
        "IQ3_XXS": 3.25,
        "Q2_K_XL": 3.4,
        "Q2_K_L": 3.3,
        "Q2_K": 3.16,
        "IQ2_M": 2.93,
        "Q2_K_S": 2.97,
        "IQ2_S": 2.74,
        "IQ2_XS": 2.59,
        "IQ2_XXS": 2.38,
        "TQ2_0": 2.4,
        "IQ1_M": 2.15,
        "IQ1_S": 2.00,
        "TQ1_0": 2.0,
    }
)
"""Best quality first: what a weight takes in a model of 8 billion parameters.

Of two decimals: llama.cpp, tools/quantize/README.md, its table for Llama-3.1-8B, and for types that it leaves out the
sizes in `llama-quantize --help`. Of one decimal: rounded from published files. Small models take more, because their
embeddings weigh more and are kept finer: Q4_K_M is 5.3 in one of 0.6 billion, 6.2 in one of 0.1 billion.
"""

SMALL_MODEL_BYTES = 700_000_000  # a model that is no larger than this in Q8_0 is fast in it: nothing is gained by less
SPARE_SHARE = 1.2  # of the file: weights that are repacked, and what the context takes
SPARE_BYTES = 512 * 2**20  # the process and its buffers, whatever the model


class Split(NamedTuple):
    """A part of a model that was cut into several files."""

    stem: str  # what the names of all parts begin with
    part: int  # from 1
    parts: int


class Choice(Struct, frozen=True):
    """The quantization that suits a machine, and why, in words for its user."""

    quant: str
    size_bytes: int
    reason: str


def canonical_quant(text: str) -> str | None:
    """The proper spelling of a quantization (`q4_k_m`, `fp16`): Q4_K_M, F16; None if `text` is none."""
    if _WHOLE.fullmatch(text) is None:
        return None
    return _SAME.get(text.upper(), text.upper())


def quant_of(filename: str) -> str | None:
    """The quantization that a file's name, or the folder it is in, tells; the last one where there are several."""
    found = _IN_NAME.findall(filename)
    return canonical_quant(found[-1]) if found else None


def split_of(filename: str) -> Split | None:
    """Which part of a split model a file is, by its name `STEM-00001-of-00003.gguf`; None if it is whole."""
    match = _SPLIT.fullmatch(filename)
    if match is None:
        return None
    split = Split(match[1], int(match[2]), int(match[3]))
    return split if 1 <= split.part <= split.parts else None


def bits_per_weight(quant: str) -> float:
    """What a weight takes, about; for a type that is not in the table, half a bit more than its name says."""
    return BITS_PER_WEIGHT.get(_plain(quant), _named_bits(quant) + 0.5)


def estimated_bytes(parameters: int, quant: str) -> int:
    """About the size of a model's file; `BITS_PER_WEIGHT` says how far off that may be."""
    return int(parameters * bits_per_weight(quant) / 8)


def rank(quant: str) -> int:
    """Its place in the order of quality, 0 the best; types that nobody knows come last."""
    order = list(BITS_PER_WEIGHT)
    return order.index(_plain(quant)) if _plain(quant) in BITS_PER_WEIGHT else len(order)


def needed_bytes(size_bytes: int) -> int:
    """The memory to have free for a model file of `size_bytes`, its context and its process included."""
    return int(size_bytes * SPARE_SHARE) + SPARE_BYTES


def choose_quant(sizes: Mapping[str, int], room_bytes: int) -> Choice:
    """The quantization to take when the user named none; `sizes` is the bytes of each one's files together.

    Each token reads every weight, so a large model answers at the speed of its bytes, and four bits are where most of
    the quality is left. Taken is the first that fits `room_bytes` of memory in this order:

    ==============  ======================================================================
    small models    Q8_0; then the best of 8 bits and less
    others          Q4_K_M; then the best of 4 bits; the smallest of 5 to 8 bits; the best
                    of 3 bits and less
    all, at last    16 and 32 bits
    never           types repacked for one processor (Q4_0_4_4)
    ==============  ======================================================================

    Raises NoRoom when none fits, ModelError when there is none to choose from.
    """
    usable = {quant: size for quant, size in sizes.items() if not _REPACKED.search(quant)}
    if not usable:
        raise ModelError("there is no quantization to choose from; name another repository")
    favourite = "Q8_0" if _is_small(usable) else "Q4_K_M"
    for quant in sorted(usable, key=lambda quant: _preference(quant, favourite)):
        if needed_bytes(usable[quant]) <= room_bytes:
            return Choice(quant, usable[quant], _reason(quant, favourite, usable[quant], room_bytes))
    smallest = min(usable, key=usable.__getitem__)
    raise NoRoom(
        f"the smallest quantization, {smallest}, needs {size_words(needed_bytes(usable[smallest]))} of memory and "
        f"{size_words(room_bytes)} are free; close other programs or take a smaller model"
    )


def _is_small(sizes: Mapping[str, int]) -> bool:
    """Whether the model would be small in Q8_0, going by its best file."""
    best = min(sizes, key=rank)
    return sizes[best] * bits_per_weight("Q8_0") / bits_per_weight(best) <= SMALL_MODEL_BYTES


def _preference(quant: str, favourite: str) -> tuple[int, bool, float]:
    """To sort by: the group, the favourite first in it, and the order within."""
    bits = _named_bits(quant)
    if bits > 8:
        return (3, False, bits_per_weight(quant))
    if favourite == "Q8_0" or bits == 4:
        return (0, quant != favourite, rank(quant))
    if bits > 4:
        return (1, False, bits_per_weight(quant))
    return (2, False, rank(quant))


def _reason(quant: str, favourite: str, size_bytes: int, room_bytes: int) -> str:
    if quant == "Q8_0" == favourite:
        merit = "hardly worse than the original and small enough to be fast; it fits"
    elif _named_bits(quant) == 4 and favourite == "Q4_K_M":
        merit = "the best balance that fits"
    elif _named_bits(quant) > 4 and favourite == "Q4_K_M":
        merit = "the smallest there is above 4 bits; it fits"
    else:
        merit = "the best that fits"
    return f"{quant}: {size_words(size_bytes)}, {merit} the {size_words(room_bytes)} of memory free"


def _plain(quant: str) -> str:
    """The type that stands in the table for it."""
    plain = quant.removeprefix("UD-")
    return _SHORT.get(plain, plain)


def _named_bits(quant: str) -> int:
    """The bits in its name: 4 in IQ4_XS, 16 in BF16."""
    plain = _plain(quant)
    return _WORDY_BITS.get(plain) or int(re.sub(r"\D", "", plain)[:1] or 0)
