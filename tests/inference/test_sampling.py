"""The sampler against straightforward definitions and against frequencies."""

import llama_cpp as lib
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.engines.base import Logits
from localllm.engines.echo import EchoTokenizer
from localllm.errors import EngineError, InvalidRequest
from localllm.inference.sampling import Sampler
from localllm.inference.temperature import entropy_temperature
from localllm.types import Sampling
from tests.inference.native_samplers import apply, owned
from tests.marks import slow


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
        found = frequencies(8000, values, temperature=temperature)
        assert np.abs(found - softmax(values, temperature)).max() < 0.03


def test_top_k_keeps_k() -> None:
    values = logits(1.0, 0.5, 0.0, -1.0, 2.0, 0.3)
    assert set(np.flatnonzero(frequencies(3000, values, temperature=1.0, top_k=2))) == {0, 4}


@pytest.mark.parametrize("top_p", [slow(0.0), 0.5, slow(0.95)])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(4):
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


@pytest.mark.slow
def test_a_draw_over_a_large_vocabulary_follows_the_probabilities() -> None:
    values = np.random.default_rng(3).normal(0, 1, 3000).astype(np.float32)  # several blocks, the last one not full
    found = frequencies(20_000, values, temperature=0.5)
    expected = np.exp(values.astype(np.float64) / 0.5)
    expected /= expected.sum()
    likeliest = np.argsort(-expected)[:20]
    np.testing.assert_allclose(found[likeliest], expected[likeliest], rtol=0.3)
    for part in np.array_split(np.arange(3000), 30):
        assert found[part].sum() == pytest.approx(expected[part].sum(), abs=0.01)


@pytest.mark.slow
def test_the_truncations_act_in_llama_cpps_order() -> None:
    fields = {"top_n_sigma": 2.5, "top_k": 60, "typical_p": 0.93, "top_p": 0.9, "min_p": 0.08}
    chain = (
        lib.llama_sampler_init_top_n_sigma(2.5),
        lib.llama_sampler_init_top_k(60),
        lib.llama_sampler_init_typical(0.93, 1),
        lib.llama_sampler_init_top_p(0.9, 1),
        lib.llama_sampler_init_min_p(0.08, 1),
        lib.llama_sampler_init_xtc(1.0, 0.1, 1, 0),
    )
    with owned(*chain) as native:
        for seed in range(5):
            values = np.random.default_rng(seed).normal(0, 3.0, 300).astype(np.float32)
            expected = apply(native, values).kept
            assert len(expected) < 40
            # So hot that all that are left come alike.
            found = frequencies(400, values, temperature=1e4, xtc_probability=1.0, xtc_threshold=0.1, **fields)
            assert set(np.flatnonzero(found).tolist()) == expected


def test_xtc_acts_as_often_as_it_is_asked_to() -> None:
    values = np.log(logits(0.5, 0.4, 0.1))
    found = frequencies(4000, values, temperature=1.0, xtc_probability=0.25, xtc_threshold=0.2)
    assert found[0] == pytest.approx(0.75 * 0.5, abs=0.03)


@pytest.mark.slow
def test_dynamic_temperature_is_that_of_the_entropy() -> None:
    values = logits(1.0, 0.5, 0.0, -1.0, 2.0, 0.3)
    temperature = entropy_temperature(values, 2.0, 1.0, 0.9, 9.0)
    assert temperature < 0.6
    found = frequencies(8000, values, temperature=1.0, dynatemp_range=0.9, dynatemp_exponent=9.0)
    assert np.abs(found - softmax(values, temperature)).max() < 0.03


def test_mirostat_takes_the_place_of_truncation_after_temperature() -> None:
    values = np.log(logits(0.4, 0.3, 0.2, 0.1))
    # Surprise 2.1 bits at most, always: at temperature 1 two tokens go, at a high one none does.
    found = frequencies(1000, values, temperature=1.0, mirostat=2, mirostat_tau=1.05, mirostat_eta=0.0)
    assert found[:2] == pytest.approx([4 / 7, 3 / 7], abs=0.05)
    assert found[2:].tolist() == [0.0, 0.0]
    found = frequencies(1000, values, temperature=50.0, mirostat=2, mirostat_tau=1.05, mirostat_eta=0.0, top_k=1)
    assert found == pytest.approx([0.25] * 4, abs=0.05)


class Spelling:
    """Lets through one of some tokens at each step."""

    def __init__(self, *steps: set[int]) -> None:
        self.steps = list(steps)

    def mask(self, values: Logits) -> None:
        values[[token for token in range(len(values)) if token not in self.steps[0]]] = -np.inf

    def accept(self, token: int) -> None:
        if token not in self.steps.pop(0):
            raise EngineError(f"token {token} may not come next")

    def forced(self) -> list[int]:
        return []

    @property
    def is_complete(self) -> bool:
        return not self.steps


def constrained(constraint: Spelling, **fields: object) -> Sampler:
    return Sampler(msgspec.convert({"temperature": 0.0} | fields, Sampling), Vocabulary(8), (), constraint)


@pytest.mark.parametrize("fields", [{}, {"temperature": 1.0}, {"logit_bias": {0: 100.0}}, {"repeat_penalty": 1.5}])
def test_a_constraint_lets_only_its_own_tokens_come(fields: dict[str, object]) -> None:
    values = logits(9, 1, 2, 3, 4, 5, 6, 7)
    constraint = Spelling({3}, {1}, {2}, {5})
    chooser = constrained(constraint, **fields)
    assert [chooser.choose(values) for _ in range(3)] == [3, 1, 2]
    assert len(constraint.steps) == 1
    assert chooser.choose(values) == 5
    assert constraint.is_complete
    assert values.tolist() == [9, 1, 2, 3, 4, 5, 6, 7]


def test_a_constraint_chooses_by_the_logits_among_what_it_allows() -> None:
    assert constrained(Spelling({1, 4, 6})).choose(logits(9, 1, 2, 3, 8, 5, 6, 7)) == 4


def test_a_constraint_that_lets_nothing_through_is_an_engine_error() -> None:
    with pytest.raises(InvalidRequest, match="no token may come next"):
        constrained(Spelling(set())).choose(logits(0, 1, 2, 3, 4, 5, 6, 7))
    with pytest.raises(InvalidRequest, match="no token may come next"):
        constrained(Spelling({7}), ignore_eos=True).choose(logits(0, 1, 2, 3, 4, 5, 6, 7))


def test_a_token_taken_counts_like_one_chosen() -> None:
    values = np.zeros(8, np.float32)
    values[[1, 2]] = 2.0, 1.5
    sampling = Sampling(temperature=0.0, frequency_penalty=0.3, dry_multiplier=0.4, repeat_penalty=1.02)
    chosen, taken = (Sampler(sampling, Vocabulary(8), (1, 2)) for _ in range(2))
    answer = []
    for step in range(20):
        answer.append(chosen.choose(values))
        if step % 3:
            assert taken.choose(values) == answer[-1]
        else:
            taken.take(answer[-1])
    assert len(set(answer)) > 2


def test_a_taken_token_moves_the_constraint() -> None:
    chooser = constrained(Spelling({3}, {1, 2}))
    chooser.take(3)
    assert chooser.choose(logits(9, 1, 2, 3, 4, 5, 6, 7)) == 2
    with pytest.raises(EngineError, match="may not come next"):
        constrained(Spelling({3})).take(4)
