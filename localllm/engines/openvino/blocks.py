"""GGUF's blocks of weights taken apart: codes, a scale and a zero point for each group, which OpenVINO multiplies with.

A weight is (code - zero) × scale. Layouts are those of ggml's ggml-common.h and ggml-quants.c. OpenVINO's own reader
rounds zero points to whole numbers, of which Q4_1, Q4_K and their like have none: the starter model's perplexity went
from 13.9 to 17.9 (measured). Here they stay as they are.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Codes(Struct, frozen=True, kw_only=True):
    """Groups of weights. `codes` int16 [groups, elements of a group], `scale` and `zero` float32 [groups].

    Without `zero` codes are signed and it is 0.
    """

    codes: NDArray[np.int16]
    scale: Floats
    zero: Floats | None
    bits: Literal[4, 8]


def _half(blocks: Bytes, at: int) -> Floats:
    """The float16 at a byte of each block."""
    return blocks[:, at : at + 2].copy().view(np.float16)[:, 0].astype(np.float32)


def _nibbles(packed: Bytes) -> NDArray[np.int16]:
    """All lower halves of a row's bytes, then all upper ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1).astype(np.int16)


def _fifth_bits(packed: Bytes) -> NDArray[np.int16]:
    """[blocks, 4] to the bits of each of 32 elements."""
    return np.unpackbits(packed, axis=-1, bitorder="little").astype(np.int16)


def _with_minimum(codes: NDArray[np.int16], scale: Floats, minimum: Floats, bits: Literal[4, 8]) -> Codes:
    """Weights of code × scale + minimum. Where the scale is 0 all of a group are the minimum: (0 - -1) × minimum."""
    is_flat = scale == 0
    zero = np.where(is_flat, np.float32(-1), -minimum / np.where(is_flat, np.float32(1), scale))
    codes[is_flat] = 0
    return Codes(codes=codes, scale=np.where(is_flat, minimum, scale), zero=zero.astype(np.float32), bits=bits)


def _q4_0(blocks: Bytes) -> Codes:
    zero = np.full(len(blocks), 8, np.float32)
    return Codes(codes=_nibbles(blocks[:, 2:]), scale=_half(blocks, 0), zero=zero, bits=4)


def _q4_1(blocks: Bytes) -> Codes:
    return _with_minimum(_nibbles(blocks[:, 4:]), _half(blocks, 0), _half(blocks, 2), 4)


def _q5_0(blocks: Bytes) -> Codes:
    codes = _nibbles(blocks[:, 6:]) + (_fifth_bits(blocks[:, 2:6]) << 4) - 16
    return Codes(codes=codes, scale=_half(blocks, 0), zero=None, bits=8)


def _q5_1(blocks: Bytes) -> Codes:
    codes = _nibbles(blocks[:, 8:]) + (_fifth_bits(blocks[:, 4:8]) << 4)
    return _with_minimum(codes, _half(blocks, 0), _half(blocks, 2), 8)


def _q8_0(blocks: Bytes) -> Codes:
    codes = blocks[:, 2:].copy().view(np.int8).astype(np.int16)
    return Codes(codes=codes, scale=_half(blocks, 0), zero=None, bits=8)


def _scales_of_k(packed: Bytes) -> tuple[Floats, Floats]:
    """The 6-bit scales and minimums [blocks, 8] in the 12 bytes of Q4_K and Q5_K (get_scale_min_k4)."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)
    minimums = np.concatenate([middle & 63, (high >> 4) | ((middle >> 6) << 4)], axis=1)
    return scales.astype(np.float32), minimums.astype(np.float32)


def _k_groups(blocks: Bytes, codes: NDArray[np.int16], bits: Literal[4, 8]) -> Codes:
    scales, minimums = _scales_of_k(blocks[:, 4:16])
    scale = (_half(blocks, 0)[:, None] * scales).reshape(-1)
    minimum = (-_half(blocks, 2)[:, None] * minimums).reshape(-1)
    return _with_minimum(codes.reshape(-1, 32), scale, minimum, bits)


def _q4_k(blocks: Bytes) -> Codes:
    return _k_groups(blocks, _nibbles(blocks[:, 16:].reshape(-1, 4, 32)), 4)


def _q5_k(blocks: Bytes) -> Codes:
    codes = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    fifth = blocks[:, 16:48, None] >> np.arange(8, dtype=np.uint8) & 1  # bit i belongs to the i-th group
    return _k_groups(blocks, codes + (fifth.transpose(0, 2, 1).astype(np.int16) << 4), 8)


def _q6_k(blocks: Bytes) -> Codes:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64))  # [blocks, 2, 128]
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    codes = low + (high.reshape(-1, 2, 128).astype(np.int16) << 4) - 32
    scales = blocks[:, 192:208].copy().view(np.int8).astype(np.float32)
    scale = (_half(blocks, 208)[:, None] * scales).reshape(-1)
    return Codes(codes=codes.reshape(-1, 16), scale=scale, zero=None, bits=8)


QUANTIZED: MappingProxyType[str, tuple[int, Callable[[Bytes], Codes]]] = MappingProxyType(
    {  # bytes of a block, and how to take it apart
        "Q4_0": (18, _q4_0),
        "Q4_1": (20, _q4_1),
        "Q5_0": (22, _q5_0),
        "Q5_1": (24, _q5_1),
        "Q8_0": (34, _q8_0),
        "Q4_K": (144, _q4_k),
        "Q5_K": (176, _q5_k),
        "Q6_K": (210, _q6_k),
    }
)
PLAIN = ("F32", "F16", "BF16")


def take_apart(data: Bytes, type_name: str) -> Codes:
    """The groups of a tensor's bytes, in order; `type_name` is one of QUANTIZED."""
    block_bytes, unpack = QUANTIZED[type_name]
    return unpack(data.reshape(-1, block_bytes))


def plain_numbers(data: Bytes, type_name: str) -> NDArray[np.float16] | Floats:
    """The numbers of a tensor of one of PLAIN; BF16 as float32, which holds all of them."""
    if type_name == "BF16":
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return data.view(np.float16) if type_name == "F16" else data.view(np.float32)
