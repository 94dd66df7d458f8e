"""Every truncation against llama.cpp's own, and at the edges."""

from collections.abc import Callable

import llama_cpp as lib
import numpy as np
import pytest

from localllm.engines.base import Logits
from localllm.engines.llama_cpp.native import Handle
from localllm.inference.truncation import (
    TokenIds,
    min_p,
    nucleus,
    top_k,
    top_n_sigma,
    typical,
    without_top_choices,
)
from tests.inference.native_samplers import apply, owned

Ours = Callable[[Logits, float, float], TokenIds]

PAIRS: dict[str, tuple[Ours, Callable[[float], Handle], list[float]]] = {
    "top_k": (lambda x, peak, k: top_k(x, peak, int(k)), lambda k: lib.llama_sampler_init_top_k(int(k)), [1, 7, 500]),
    "top_p": (nucleus, lambda p: lib.llama_sampler_init_top_p(p, 1), [0.05, 0.5, 0.9, 0.99]),
    "min_p": (min_p, lambda p: lib.llama_sampler_init_min_p(p, 1), [0.01, 0.2, 1.0]),
    "typical": (typical, lambda p: lib.llama_sampler_init_typical(p, 1), [0.05, 0.2, 0.5, 0.9, 0.99]),
    "top_n_sigma": (top_n_sigma, lib.llama_sampler_init_top_n_sigma, [0.2, 1.0, 2.5]),
    "xtc": (without_top_choices, lambda t: lib.llama_sampler_init_xtc(1.0, t, 1, 0), [0.01, 0.05, 0.3, 0.5]),
}


@pytest.mark.parametrize("spread", [0.5, 2.0, 5.0])  # nearly even, ordinary, peaked
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, pair in PAIRS.items() for value in pair[2]])
def test_the_same_tokens_are_left_as_by_llama_cpp(name: str, value: float, spread: float) -> None:
    ours, native, _ = PAIRS[name]
    for seed in range(6):
        logits = np.random.default_rng(seed).normal(0, spread, 300).astype(np.float32)
        with owned(native(value)) as sampler:
            expected = apply(sampler, logits).kept
        found = ours(logits, float(logits.max()), value).tolist()
        assert set(found) == expected
        assert len(found) == len(expected)


def test_each_truncation_has_something_to_do_in_these_tests() -> None:
    logits = np.random.default_rng(0).normal(0, 2.0, 300).astype(np.float32)
    for ours, _, values in PAIRS.values():
        assert len({len(ours(logits, float(logits.max()), value)) for value in values}) > 1


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("logits", [[2.0], [0.0, 0.0, 0.0], [-np.inf, 1.0, -np.inf], [3e37, -3e38, -np.inf, 0.0]])
def test_something_possible_always_stays(name: str, logits: list[float]) -> None:
    ours, _, values = PAIRS[name]
    array = np.array(logits, np.float32)
    for value in [*values, *([0.0] if name in ("top_p", "typical", "xtc") else [])]:
        kept = ours(array, float(array.max()), value)
        assert np.isfinite(array[kept]).any()


def test_typical_p_may_drop_the_likeliest() -> None:
    logits = np.log(np.array([0.3, *[0.07] * 10], np.float32))
    assert 0 not in typical(logits, float(logits.max()), 0.5)
    assert len(typical(logits, float(logits.max()), 0.5)) == 8


def test_impossible_tokens_do_not_count_for_the_deviation_or_the_entropy() -> None:
    logits = np.random.default_rng(1).normal(0, 2.0, 40).astype(np.float32)
    padded = np.concatenate([logits, np.full(400, -np.inf, np.float32)])
    peak = float(logits.max())
    assert top_n_sigma(padded, peak, 1.0).tolist() == top_n_sigma(logits, peak, 1.0).tolist()
    assert typical(padded, peak, 0.4).tolist() == typical(logits, peak, 0.4).tolist()


def test_xtc_leaves_the_least_likely_of_the_top_choices() -> None:
    logits = np.log(np.array([0.4, 0.05, 0.3, 0.2, 0.05], np.float32))
    assert without_top_choices(logits, float(logits.max()), 0.15).tolist() == [1, 3, 4]
    assert without_top_choices(logits, float(logits.max()), 0.35).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("p", [0.1, 0.6, 0.99])
def test_sets_of_a_large_vocabulary_are_those_of_the_definition(spread: float, p: float) -> None:
    """Large enough that only the likely part is sorted."""
    values = np.random.default_rng(4).normal(0, spread, 20_000).astype(np.float32)
    shares = np.exp(values.astype(np.float64))
    shares /= shares.sum()
    distances = np.abs(-np.log(shares) + float(shares @ np.log(shares)))
    for found, order in [(nucleus, np.argsort(-shares)), (typical, np.argsort(distances))]:
        expected = order[: int(np.searchsorted(np.cumsum(shares[order]), p)) + 1]
        kept = found(values, float(values.max()), p)
        # float32 sums may end a token or two earlier or later.
        assert len(set(kept.tolist()) ^ set(expected.tolist())) <= 1 + len(expected) // 5000
