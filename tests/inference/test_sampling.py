"""The sampler against straightforward definitions and against frequencies."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.engines.base import Logits
from localllm.engines.echo import EchoTokenizer
from localllm.errors import EngineError
from localllm.inference.sampling import Sampler
from localllm.types import Sampling


class Vocabulary(EchoTokenizer):
    """A tokenizer of any size."""

    def __init__(self, size: int) -> None:
        self.vocab_size = size
        self.end_tokens = frozenset({size - 1})


def sampler(prompt: tuple[int, ...] = (), size: int = 8, **fields: object) -> Sampler:
    return Sampler(msgspec.convert(fields, Sampling), Vocabulary(size), prompt)


def logits(*values: float) -> Logits:
    return np.array(values, np.float32)


def frequencies(count: int, values: Logits, **fields: object) -> NDArray[np.float64]:
    chooser = Sampler(msgspec.convert({"seed": 1} | fields, Sampling), Vocabulary(len(values)), ())
    counts = np.bincount([chooser.choose(values) for _ in range(count)], minlength=len(values))
    return counts / count


def softmax(values: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
    weights = np.exp((values.astype(np.float64) - values.max()) / temperature)
    return np.asarray(weights / weights.sum())


def test_greedy_takes_the_largest() -> None:
    assert sampler(temperature=0.0).choose(logits(0, 3, 2, -1, 2.9, 0, 0, 0)) == 1


def test_temperature_gives_the_softmax() -> None:
    values = logits(1.0, 0.5, 0.0, -1.0, 2.0, 0.3)
    for temperature in (0.5, 1.0, 2.0):
        found = frequencies(20000, values, temperature=temperature)
        assert np.abs(found - softmax(values, temperature)).max() < 0.02


def test_top_k_keeps_k() -> None:
    values = logits(1.0, 0.5, 0.0, -1.0, 2.0, 0.3)
    assert set(np.flatnonzero(frequencies(3000, values, temperature=1.0, top_k=2))) == {0, 4}


@pytest.mark.parametrize("top_p", [0.0, 0.1, 0.5, 0.8, 0.95, 0.999])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(8):
        values = random.normal(0, 2, 12).astype(np.float32)
        order = np.argsort(-values)
        reached = np.cumsum(softmax(values)[order])
        expected = set(order[: int(np.searchsorted(reached, top_p)) + 1].tolist())
        found = set(np.flatnonzero(frequencies(1500, values, temperature=3.0, top_p=top_p)).tolist())
        assert found <= expected
        likely = {token for token in expected if softmax(values[list(expected)], 3.0).min() > 0.01}
        assert likely <= found


def test_min_p_keeps_what_is_likely_enough() -> None:
    values = np.log(logits(0.5, 0.3, 0.15, 0.04, 0.01))
    found = np.flatnonzero(frequencies(5000, values, temperature=1.0, min_p=0.25))
    assert set(found) == {0, 1, 2}


def test_truncation_looks_at_the_distribution_before_temperature() -> None:
    values = np.log(logits(0.6, 0.3, 0.06, 0.04))
    found = np.flatnonzero(frequencies(5000, values, temperature=2.0, top_p=0.7))
    assert set(found) == {0, 1}


def test_repeat_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    assert sampler((1,), temperature=0.0, repeat_penalty=2.0).choose(logits(1.4, 2.6, 0, 0, 0, 0, 0, 0)) == 0
    assert sampler((1,), temperature=0.0, repeat_penalty=1.5).choose(logits(1.4, 2.6, 0, 0, 0, 0, 0, 0)) == 1
    negative = logits(-1.5, -1.0, -9, -9, -9, -9, -9, -9)
    assert sampler((1,), temperature=0.0, repeat_penalty=2.0).choose(negative) == 0


def test_repeat_penalty_forgets_what_is_long_ago() -> None:
    values = logits(1.4, 2.6, 0, 0, 0, 0, 0, 0)
    assert sampler((1, *[5] * 64), temperature=0.0, repeat_penalty=2.0).choose(values) == 1


def test_frequency_and_presence_count_the_answer_alone() -> None:
    values = logits(1.0, 2.0, 0, 0, 0, 0, 0, 0)
    chooser = sampler((1, 1, 1), temperature=0.0, frequency_penalty=0.6)
    assert [chooser.choose(values) for _ in range(3)] == [1, 1, 0]  # 2, 1.4, 0.8
    chooser = sampler(temperature=0.0, presence_penalty=1.5)
    assert [chooser.choose(values) for _ in range(4)] == [1, 0, 1, 1]  # subtracted once, however often it came


def test_logit_bias() -> None:
    values = logits(1.0, 2.0, 0, 0, 0, 0, 0, 0)
    assert sampler(temperature=0.0, logit_bias={2: 100.0}).choose(values) == 2
    assert sampler(temperature=0.0, logit_bias={1: -100.0}).choose(values) == 0


def test_ignore_eos_never_ends() -> None:
    values = logits(0, 0, 0, 0, 0, 0, 0, 50)
    assert sampler(temperature=0.0).choose(values) == 7
    assert sampler(temperature=0.0, ignore_eos=True).choose(values) != 7


def test_the_same_seed_gives_the_same_tokens() -> None:
    values = np.random.default_rng(3).normal(0, 1, 500).astype(np.float32)
    runs = []
    for seed in (7, 7, 8):
        chooser = sampler(size=500, temperature=1.0, seed=seed)
        runs.append([chooser.choose(values) for _ in range(50)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_without_a_seed_answers_differ() -> None:
    values = np.zeros(5000, np.float32)
    assert len({sampler(size=5000, temperature=1.0).choose(values) for _ in range(8)}) > 1


def test_logits_are_left_as_they_are() -> None:
    values = logits(1.0, 2.0, 0, 0, 0, 0, 0, 0)
    sampler((1,), temperature=1.0, seed=1, repeat_penalty=1.5, top_k=3, top_p=0.9, logit_bias={0: 5}).choose(values)
    assert values.tolist() == [1.0, 2.0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_an_engine_error(bad: float, temperature: float) -> None:
    with pytest.raises(EngineError, match="not numbers"):
        sampler(temperature=temperature).choose(logits(0, bad, 0, 0, 0, 0, 0, 0))


def test_extreme_values_do_not_overflow() -> None:
    values = logits(1e30, -1e30, 0, 88, 89, 3e37, -3e37, 0)
    assert sampler(temperature=0.01, top_p=0.5, seed=1).choose(values) == 5
    assert sampler(temperature=2.0, seed=1).choose(values) == 5


def test_a_draw_over_a_large_vocabulary_follows_the_probabilities() -> None:
    values = np.random.default_rng(3).normal(0, 1, 3000).astype(np.float32)  # several blocks, the last one not full
    found = frequencies(40_000, values, temperature=0.5)
    expected = np.exp(values.astype(np.float64) / 0.5)
    expected /= expected.sum()
    likeliest = np.argsort(-expected)[:20]
    np.testing.assert_allclose(found[likeliest], expected[likeliest], rtol=0.25)
    for part in np.array_split(np.arange(3000), 30):
        assert found[part].sum() == pytest.approx(expected[part].sum(), abs=0.01)


@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0])  # nearly even, ordinary, peaked
def test_top_p_over_a_large_vocabulary(spread: float) -> None:
    values = np.random.default_rng(4).normal(0, spread, 5000).astype(np.float32)
    probabilities = softmax(values)
    order = np.argsort(-probabilities)
    expected = order[: int(np.searchsorted(np.cumsum(probabilities[order]), 0.6)) + 1]
    found = np.flatnonzero(frequencies(3000, values, temperature=1.0, top_p=0.6))
    assert set(found.tolist()) <= set(expected.tolist())
    assert len(found) > 0.4 * min(len(expected), 3000)
