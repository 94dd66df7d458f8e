"""Log probabilities: sums to one, order, and what they are of."""

import msgspec
import numpy as np
import pytest

from localllm.engines.echo import EchoTokenizer
from localllm.inference.logprobs import LOWEST, token_logprob
from localllm.inference.sampling import Sampler
from localllm.types import Sampling

SIZE = EchoTokenizer.vocab_size


def row(seed: int = 0, spread: float = 3.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, spread, SIZE).astype(np.float32)


@pytest.mark.parametrize("spread", [0.01, 3.0, 30.0])
def test_the_probabilities_of_all_tokens_sum_to_one(spread: float) -> None:
    values = row(1, spread) + np.float32(1000.0)
    found = token_logprob(values, 5, SIZE, EchoTokenizer())
    assert len(found.top) == SIZE
    assert sum(np.exp(top.logprob) for top in found.top) == pytest.approx(1.0, abs=1e-6)


def test_they_are_the_log_softmax_likeliest_first() -> None:
    values = row(2)
    exact = values.astype(np.float64)
    exact -= np.log(np.exp(exact).sum())
    found = token_logprob(values, 65, 5, EchoTokenizer())
    order = np.argsort(-exact)[:5]
    assert found.logprob == pytest.approx(exact[65], abs=1e-9)
    assert found.piece == b"A"
    assert [top.logprob for top in found.top] == pytest.approx(exact[order].tolist(), abs=1e-9)
    assert [top.piece for top in found.top] == [EchoTokenizer().piece(int(token)) for token in order]


def test_of_equally_likely_tokens_the_lower_id_comes_first() -> None:
    values = np.full(SIZE, -5.0, np.float32)
    values[[70, 66, 68]] = 1.0
    assert [top.piece for top in token_logprob(values, 0, 3, EchoTokenizer()).top] == [b"B", b"D", b"F"]


def test_impossible_is_a_number_that_json_has() -> None:
    values = row(3)
    values[65] = -np.inf
    found = token_logprob(values, 65, 0, EchoTokenizer())
    assert (found.logprob, found.top) == (LOWEST, ())
    assert msgspec.json.decode(msgspec.json.encode(found.logprob)) == LOWEST


def test_a_sampler_gives_those_of_the_models_own_logits() -> None:
    values = row(4)
    fields = {"temperature": 0.5, "top_k": 2, "repeat_penalty": 1.5, "frequency_penalty": 1.0, "seed": 1}
    sampler = Sampler(
        msgspec.convert(fields | {"logit_bias": {66: 100.0}, "logprobs": 2}, Sampling), EchoTokenizer(), [65]
    )
    token = sampler.choose(values)
    assert token == 66
    assert sampler.logprob(values, token) == token_logprob(values, 66, 2, EchoTokenizer())


def test_without_rivals_only_the_tokens_own_is_given() -> None:
    values = row(5)
    sampler = Sampler(Sampling(logprobs=0), EchoTokenizer(), ())
    assert sampler.logprob(values, 65).top == ()
