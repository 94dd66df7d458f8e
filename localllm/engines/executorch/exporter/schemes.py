"""How the weights of a program are stored. Names are torchao's and ExecuTorch's: 8da4w is 8-bit dynamically quantized
activations with 4-bit weights."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from localllm.errors import InvalidRequest

DEFAULT_SCHEME = "8da4w"


class Scheme(Struct, frozen=True, kw_only=True):
    """Bits of each kind of weights: 4, 8, 16 for float16, or 32 for float32."""

    name: str
    linear_bits: int  # of the matrices in the layers
    group_size: int = 0  # weights of a row that share a scale; 0: the whole row
    output_bits: int = 8  # of the output
    embedding_bits: int = 8  # of the token embedding
    words: str  # what it is good for


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            Scheme(
                name="8da4w",
                linear_bits=4,
                group_size=32,
                words="4 bits in groups of 32, output and embedding 8 bits: small and fast",
            ),
            Scheme(name="8da8w", linear_bits=8, words="8 bits throughout: close to the original, half of F16"),
            Scheme(
                name="fp32",
                linear_bits=32,
                output_bits=32,
                embedding_bits=32,
                words="nothing rounded, four bytes a weight; for measuring",
            ),
            Scheme(
                name="4w",
                linear_bits=4,
                group_size=32,
                words="4-bit weights in groups of 32, output and embedding 8 bits; activations are not rounded",
            ),
            Scheme(name="8w", linear_bits=8, words="8-bit weights; activations are not rounded"),
            Scheme(
                name="fp16",
                linear_bits=16,
                output_bits=16,
                embedding_bits=16,
                words="float16, two bytes a weight: what the hardware computes with",
            ),
            Scheme(
                name="8da4w-all",
                linear_bits=4,
                group_size=32,
                output_bits=4,
                words="4 bits in groups of 32 in the output too, embedding 8 bits: the smallest, with a loss",
            ),
        )
    }
)


def scheme_of(text: str) -> Scheme:
    """The scheme that `text` names, however it is spelt. Raises InvalidRequest with those that there are."""
    scheme = SCHEMES.get(text.strip().lower())
    if scheme is None:
        raise InvalidRequest(
            f"there is no type {text[:40]!r} for ExecuTorch; there are {', '.join(SCHEMES)}", param="type"
        )
    return scheme
