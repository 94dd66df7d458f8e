"""The temperature by entropy against llama.cpp's, and at its ends."""

import llama_cpp as lib
import numpy as np
import pytest

from localllm.inference.temperature import entropy_temperature
from tests.inference.native_samplers import logits_after, owned


@pytest.mark.parametrize(("middle", "reach", "exponent"), [(0.8, 0.5, 1.0), (1.0, 0.3, 2.0), (0.4, 1.0, 0.5)])
@pytest.mark.parametrize("spread", [0.1, 2.0, 5.0])
def test_the_logits_become_those_of_llama_cpp(middle: float, reach: float, exponent: float, spread: float) -> None:
    for seed in range(6):
        logits = np.random.default_rng(seed).normal(0, spread, 300).astype(np.float32)
        with owned(lib.llama_sampler_init_temp_ext(middle, reach, exponent)) as sampler:
            expected = logits_after(sampler, logits)
        temperature = entropy_temperature(logits, float(logits.max()), middle, reach, exponent)
        np.testing.assert_allclose(logits / temperature, expected, rtol=1e-4)


def test_it_lies_between_the_ends_of_the_range() -> None:
    even, certain = np.zeros(50, np.float32), np.array([100.0, 0.0, 0.0], np.float32)
    assert entropy_temperature(even, 0.0, 0.8, 0.5, 1.0) == pytest.approx(1.3)
    assert entropy_temperature(certain, 100.0, 0.8, 0.5, 1.0) == pytest.approx(0.3)
    assert entropy_temperature(certain, 100.0, 0.2, 0.5, 1.0) == pytest.approx(0.0)


def test_impossible_tokens_do_not_count() -> None:
    logits = np.array([1.0, 0.0, -np.inf, -np.inf], np.float32)
    assert entropy_temperature(logits, 1.0, 0.8, 0.5, 1.0) == entropy_temperature(logits[:2], 1.0, 0.8, 0.5, 1.0)
    assert entropy_temperature(logits[1:], 0.0, 0.8, 0.5, 1.0) == 0.8  # one token: any temperature is the same
