"""Distributions of logits: scored, packed and compared, against float64."""

import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.quantize.quality.distributions import DEEPEST, Distributions, NumbersBroke, likeliest_of

Exact = NDArray[np.float64]


def logits(seed: int, *, rows: int = 7, vocabulary: int = 5000, spread: float = 4.0) -> NDArray[np.float32]:
    """Like a model's: a few tokens stand out."""
    random = np.random.default_rng(seed)
    found = random.normal(0, spread, (rows, vocabulary))
    found[np.arange(rows)[:, None], random.integers(0, vocabulary, (rows, 5))] += 15
    return found.astype(np.float32)


def log_softmax(rows: NDArray[np.float32]) -> Exact:
    exact = rows.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    result: Exact = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    return result


def divergence(base: Exact, other: Exact) -> Exact:
    """KL by its definition, term by term."""
    result: Exact = (np.exp(base) * (base - other)).sum(axis=1)
    return result


def test_a_surprise_is_the_negative_log_probability() -> None:
    rows = logits(1)
    tokens = np.array([3, 0, 4999, 17, 17, 2500, 1], np.int32)
    expected = -log_softmax(rows)[np.arange(7), tokens]
    assert np.allclose(Distributions(rows).surprise(tokens), expected, rtol=0, atol=4e-6)


@pytest.mark.parametrize("offset", [0.0, 1000.0, -30000.0])
def test_only_differences_of_logits_count(offset: float) -> None:
    rows = np.round(logits(2) * 64) / np.float32(64)  # so that adding is exact
    tokens = np.arange(7, dtype=np.int32)
    moved = Distributions(rows + np.float32(offset))
    assert np.array_equal(moved.surprise(tokens), Distributions(rows).surprise(tokens))


@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0, 12.0])
def test_a_model_diverges_from_itself_by_nothing_that_matters(spread: float) -> None:
    found = Distributions(logits(3, spread=spread))
    assert found.divergence_from(found.packed()).max() < 3e-7


@pytest.mark.parametrize(("noise", "tolerance"), [(0.01, 1e-6), (0.3, 3e-5), (3.0, 3e-4)])
def test_a_divergence_is_that_of_the_definition(noise: float, tolerance: float) -> None:
    base = logits(4)
    other = base + np.random.default_rng(5).normal(0, noise, base.shape).astype(np.float32)
    expected = divergence(log_softmax(base), log_softmax(other))
    found = Distributions(other).divergence_from(Distributions(base).packed())
    assert np.allclose(found, expected, rtol=0, atol=tolerance)
    assert expected.max() > 30 * tolerance


def test_a_divergence_has_a_direction() -> None:
    left, right = Distributions(logits(6)), Distributions(logits(7))
    assert not np.allclose(right.divergence_from(left.packed()), left.divergence_from(right.packed()), rtol=0.01)


def test_two_tokens_by_hand() -> None:
    """p = (0.8, 0.2), q = (0.5, 0.5): 0.8 ln 1.6 + 0.2 ln 0.4."""
    base = Distributions(np.log(np.array([[0.8, 0.2]], np.float32)))
    other = Distributions(np.zeros((1, 2), np.float32))
    assert other.divergence_from(base.packed())[0] == pytest.approx(0.8 * np.log(1.6) + 0.2 * np.log(0.4), abs=3e-5)


def test_the_likeliest_token_survives_packing() -> None:
    rows = logits(8, rows=50)
    first = rows.argmax(axis=1)
    second = (first + 1) % rows.shape[1]
    rows[np.arange(50), second] = np.nextafter(rows[np.arange(50), first], np.float32(-np.inf))  # as close as can be
    found = Distributions(rows)
    assert np.array_equal(found.likeliest(), first)
    assert np.array_equal(likeliest_of(found.packed()), first)


def test_of_equals_the_first_is_the_likeliest_before_and_after() -> None:
    found = Distributions(np.array([[1, 5, 5, 2]], np.float32))
    assert (found.likeliest()[0], likeliest_of(found.packed())[0]) == (1, 1)


def test_what_was_ruled_out_counts_nothing() -> None:
    """Some models put padding at the lowest number there is: the base's probability is 0, whatever the other's."""
    base = np.array([[2, 1, -1e38]], np.float32)
    other = np.array([[2, 1, -DEEPEST * 2]], np.float32)
    assert Distributions(base).divergence_from(Distributions(base).packed())[0] < 1e-7
    assert Distributions(other).divergence_from(Distributions(base).packed())[0] < 1e-7
    assert Distributions(base).divergence_from(Distributions(other).packed())[0] < 1e-7


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(broken: float) -> None:
    rows = logits(9)
    rows[3, 77] = broken
    with pytest.raises(NumbersBroke):
        Distributions(rows)


def test_numbers_too_far_apart_are_refused() -> None:
    with pytest.raises(NumbersBroke):
        Distributions(np.array([[3e38, -3e38]], np.float32))


def test_the_logits_are_left_alone() -> None:
    rows = logits(10)
    kept = rows.copy()
    found = Distributions(rows)
    found.divergence_from(found.packed())
    assert np.array_equal(rows, kept)
