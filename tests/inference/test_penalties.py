"""Penalties against llama.cpp's, and where the window begins and ends."""

import llama_cpp as lib
import msgspec
import numpy as np
import pytest

from localllm.engines.base import Logits
from localllm.engines.echo import EchoTokenizer
from localllm.inference.penalties import LogitAdjuster
from localllm.types import Sampling
from tests.inference.native_samplers import logits_after, owned

SIZE = EchoTokenizer.vocab_size


def adjuster(prompt: list[int], **fields: object) -> LogitAdjuster:
    return LogitAdjuster(msgspec.convert(fields, Sampling), EchoTokenizer(), prompt)


def row(random: np.random.Generator) -> Logits:
    return random.normal(0, 3.0, SIZE).astype(np.float32)


@pytest.mark.parametrize("penalty", [0.8, 1.1, 2.0])
@pytest.mark.parametrize("window", [1, 10, 64])
def test_the_repeat_penalty_is_llama_cpps_with_the_prompt_in_its_window(penalty: float, window: int) -> None:
    random = np.random.default_rng(0)
    prompt = random.integers(0, 40, 90).tolist()
    ours = adjuster(prompt, repeat_penalty=penalty, repeat_last_n=window)
    with owned(lib.llama_sampler_init_penalties(SIZE, window, penalty, 0.0, 0.0)) as native:
        for token in prompt:
            lib.llama_sampler_accept(native, token)
        for token in random.integers(0, 40, 80).tolist():
            logits = row(random)
            np.testing.assert_allclose(ours.apply(logits), logits_after(native, logits), rtol=1e-6)
            ours.accept(token)
            lib.llama_sampler_accept(native, token)


def test_a_window_of_minus_one_is_everything() -> None:
    random = np.random.default_rng(1)
    prompt = random.integers(0, 200, 300).tolist()
    everything = adjuster(prompt, repeat_penalty=1.3, repeat_last_n=-1)
    large = adjuster(prompt, repeat_penalty=1.3, repeat_last_n=10_000)
    for token in random.integers(0, 250, 30).tolist():
        logits = row(random)
        assert everything.apply(logits).tolist() == large.apply(logits).tolist()
        assert everything.apply(logits).tolist() != logits.tolist()
        everything.accept(token)
        large.accept(token)


def test_frequency_and_presence_are_llama_cpps_over_the_answer() -> None:
    random = np.random.default_rng(2)
    ours = adjuster([1, 2, 3], frequency_penalty=0.4, presence_penalty=-0.7)
    with owned(lib.llama_sampler_init_penalties(SIZE, 1000, 1.0, 0.4, -0.7)) as native:
        for token in random.integers(0, 12, 60).tolist():
            logits = row(random)
            np.testing.assert_allclose(ours.apply(logits), logits_after(native, logits), rtol=1e-5, atol=1e-5)
            ours.accept(token)
            lib.llama_sampler_accept(native, token)


@pytest.mark.parametrize(
    "fields", [{}, {"repeat_penalty": 2.0, "repeat_last_n": 0}, {"dry_multiplier": 1.0, "dry_penalty_last_n": 0}]
)
def test_what_would_change_nothing_is_idle(fields: dict[str, object]) -> None:
    assert adjuster([1, 2, 3], **fields).is_idle


def test_forbidden_ends_stay_forbidden_under_a_bias() -> None:
    logits = adjuster([], ignore_eos=True, logit_bias={257: 100.0, 3: 5.0}).apply(np.zeros(SIZE, np.float32))
    assert logits[257] == -np.inf
    assert logits[3] == 5.0
