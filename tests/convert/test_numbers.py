"""Formats of weights: exact where they can be, to the nearest where they cannot."""

from fractions import Fraction

import numpy as np
import pytest

from localllm.convert.numbers import (
    BF16,
    F16,
    F32,
    FORMATS,
    Bits,
    FloatFormat,
    count_infinite,
    first_unusable,
    is_nan,
    narrowed,
    widened,
)

ALL_16 = np.arange(2**16, dtype="<u2")
FINITE = {F16: ALL_16[(ALL_16 & 0x7C00) != 0x7C00], BF16: ALL_16[(ALL_16 & 0x7F80) != 0x7F80]}


@pytest.mark.parametrize("form", [F16, BF16], ids=lambda form: form.name)
def test_every_number_of_16_bits_comes_back_from_32(form: FloatFormat) -> None:
    bits = FINITE[form]
    assert np.array_equal(narrowed(widened(bits, form), form), bits)


def test_bf16_is_the_upper_half_of_f32() -> None:
    assert np.array_equal(widened(ALL_16, BF16).view("<u4"), ALL_16.astype("<u4") << 16)


def test_f32_is_not_even_copied() -> None:
    bits = np.arange(10, dtype="<u4")
    assert np.shares_memory(widened(bits, F32), bits)
    assert np.shares_memory(narrowed(widened(bits, F32), F32), bits)


def test_bf16_is_the_nearest_and_even_between_two() -> None:
    """By fractions, over neighbours of every scale, on and beside the middle between two."""
    below = np.concatenate([np.arange(0x0000, 0x7F7F, 97), np.arange(0x8000, 0xFF7F, 97)]).astype("<u4")
    for offset in (0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        given = (below << 16) + np.uint32(offset)
        rounded = narrowed(given.view("<f4"), BF16)
        for value, lower, found in zip(given.view("<f4").tolist(), below.tolist(), rounded.tolist(), strict=True):
            candidates = [number(lower), number(lower + 1)]
            distances = [abs(candidate - Fraction(value)) for candidate in candidates]
            if distances[0] == distances[1]:
                assert offset == 0x8000
                assert found == lower + lower % 2
            else:
                assert found == lower + distances.index(min(distances))


def number(bits: int) -> Fraction:
    """A bf16 as sign, exponent and fraction say, subnormal ones too."""
    exponent, fraction = bits >> 7 & 0xFF, bits & 0x7F
    size = Fraction(fraction + (128 if exponent else 0)) * Fraction(2) ** (max(exponent, 1) - 127 - 7)
    return -size if bits >> 15 else size


@pytest.mark.slow
def test_rounding_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is the other opinion")
    torch.set_num_threads(1)
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32).astype("<u4")
    values = bits[(bits & 0x7F80_0000) != 0x7F80_0000].view("<f4")
    for form, kind in ((BF16, torch.bfloat16), (F16, torch.float16)):
        theirs = torch.from_numpy(values.copy()).to(kind).view(torch.int16).numpy().view("<u2")
        with np.errstate(over="ignore"):
            assert np.array_equal(narrowed(values, form), theirs)


@pytest.mark.parametrize(
    ("value", "form", "is_infinite"),
    [
        (65504.0, F16, False),
        (65519.0, F16, False),  # rounds down
        (65520.0, F16, True),
        (-70000.0, F16, True),
        (3.3895314e38, BF16, False),  # the largest
        (3.4e38, BF16, True),
        (-3.4028235e38, BF16, True),
        (3.4028235e38, F32, False),
    ],
)
def test_what_does_not_fit_becomes_infinite(value: float, form: FloatFormat, is_infinite: bool) -> None:
    with np.errstate(over="ignore"):
        bits = narrowed(np.array([1.0, value, 0.0], "<f4"), form)
    assert count_infinite(bits, form) == is_infinite
    assert first_unusable(bits, form) == (1 if is_infinite else None)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_found(form: FloatFormat, value: float) -> None:
    bits: Bits = narrowed(np.linspace(-3, 3, 1000, dtype="<f4"), form)
    assert first_unusable(bits, form) is None
    for place in (0, 500, 999):
        spoilt = bits.copy()
        spoilt[place:] = narrowed(np.array([value], "<f4"), form)[0]
        assert first_unusable(spoilt, form) == place
        assert is_nan(int(spoilt[place]), form) == np.isnan(value)


def test_nothing_is_found_in_nothing() -> None:
    assert first_unusable(np.empty(0, "<u2"), BF16) is None
