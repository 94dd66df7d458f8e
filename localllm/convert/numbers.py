"""Floating-point formats of weights, as bits, and the way from one to another.

IEEE 754; bfloat16 is the upper half of a float32.
"""

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Bits = NDArray[np.uint16 | np.uint32]


class FloatFormat(Struct, frozen=True, kw_only=True):
    """A format. Bits are little-endian, as both safetensors and GGUF keep them."""

    name: str  # in both
    size_bytes: int
    exponent: int  # these bits are all set in infinities and NaN, and in no other number
    fraction: int

    @property
    def bits(self) -> np.dtype[np.uint16 | np.uint32]:
        """Unsigned integers of its width."""
        return np.dtype("<u4") if self.size_bytes == 4 else np.dtype("<u2")


F32: Final = FloatFormat(name="F32", size_bytes=4, exponent=0x7F80_0000, fraction=0x007F_FFFF)
F16: Final = FloatFormat(name="F16", size_bytes=2, exponent=0x7C00, fraction=0x03FF)
BF16: Final = FloatFormat(name="BF16", size_bytes=2, exponent=0x7F80, fraction=0x007F)
FORMATS: Final = {form.name: form for form in (F32, F16, BF16)}


def first_unusable(bits: Bits, form: FloatFormat) -> int | None:
    """The place in flat `bits` of the first infinity or NaN; None where all are finite numbers."""
    exponents = bits & bits.dtype.type(form.exponent)
    if not exponents.size or exponents.max() != form.exponent:
        return None
    return int(np.argmax(exponents == form.exponent))


def is_nan(bits: int, form: FloatFormat) -> bool:
    """Whether one number that is not finite is a NaN."""
    return bool(bits & form.fraction)


def count_infinite(bits: Bits, form: FloatFormat) -> int:
    """How many are infinite, where none is NaN."""
    return int(np.count_nonzero((bits & bits.dtype.type(form.exponent)) == form.exponent))


def widened(bits: Bits, form: FloatFormat) -> NDArray[np.float32]:
    """The same numbers as float32, exactly; of F32 the same memory."""
    if form is F16:
        return bits.view("<f2").astype("<f4")
    if form is BF16:
        return (bits.astype("<u4") << np.uint32(16)).view("<f4")
    return bits.view("<f4")


def narrowed(values: NDArray[np.float32], form: FloatFormat) -> Bits:
    """float32 rounded to the nearest, ties to even; what is beyond the format becomes infinite.

    numpy warns of that unless told not to.
    """
    if form is F16:
        return values.astype("<f2").view("<u2")
    if form is BF16:
        return _rounded_half(values.view("<u4"))
    return values.view("<u4")


def _rounded_half(bits: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """The upper halves. Adding just under half of their last place, and that place's bit, carries where it must.

    No overflow for finite numbers: the largest has 0x7F7FFFFF.
    """
    carried = bits >> np.uint32(16)
    carried &= np.uint32(1)
    carried += np.uint32(0x7FFF)
    carried += bits
    carried >>= np.uint32(16)
    return carried.astype("<u2")
