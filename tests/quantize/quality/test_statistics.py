"""Means and their errors."""

import math

import numpy as np
import pytest

from localllm.quantize.quality.statistics import perplexity_of, standard_error


def test_a_standard_error_by_hand() -> None:
    assert standard_error(np.array([1.0, 2.0, 3.0, 6.0])) == pytest.approx(math.sqrt(14 / 3 / 4))


def test_a_perplexity_by_hand() -> None:
    found = perplexity_of(np.log([2.0, 8.0]))
    assert found.value == pytest.approx(4.0)
    assert found.error == pytest.approx(4.0 * math.log(4) / 2)


def test_the_error_is_that_of_many_samples() -> None:
    """It says how far means of other samples lie apart."""
    random = np.random.default_rng(0)
    samples = [perplexity_of(random.gamma(2.0, 1.0, 400)) for _ in range(400)]
    spread = np.std([sample.value for sample in samples])
    assert samples[0].error == pytest.approx(spread, rel=0.25)


def test_endless_surprise_is_infinite_and_no_crash() -> None:
    assert perplexity_of(np.array([1e6, 1e6])).value == math.inf
