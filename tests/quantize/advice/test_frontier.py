"""The frontier and the recommendation: cases by hand, and what must hold of any candidates."""

import math
import random

import msgspec
import pytest

from localllm.errors import InvalidRequest, NoRoom
from localllm.quantize.advice.frontier import (
    HARDLY_WORSE,
    NOISE,
    Advice,
    Candidate,
    advise,
    candidate,
    frontier,
    memory_bytes,
    turn_seconds,
)
from localllm.quantize.evaluation import Divergence, Measurement, Rates
from tests.quantize.examples import MB, REAL, candidate_of

SEEDS = range(300)


def types(candidates: list[Candidate]) -> list[str]:
    return [each.type for each in candidates]


def states(advice: Advice) -> dict[str, str]:
    return {each.candidate.type: each.state for each in advice.ranked}


def drawn(numbers: random.Random, *, speeds: float = 1.0) -> list[Candidate]:
    """Some candidates of a small choice of figures, so that ties and near ties are common."""
    found = []
    for place in range(numbers.randint(1, 9)):
        rates = (numbers.choice((100, 102, 104, 120, 200)), numbers.choice((20, 20.5, 21, 30)))
        found.append(
            candidate_of(
                f"T{place}",
                numbers.choice((90, 91, 100, 120, 150)),
                numbers.choice((0.001, 0.02, 0.049, 0.05, 0.051, 0.2)),
                *(rates if numbers.random() < speeds else ()),
            )
        )
    return found


def loser_to(winner: Candidate, numbers: random.Random) -> Candidate:
    """A candidate that `winner` beats: larger or farther, and faster by no more than noise."""
    gain = numbers.choice((0.5, 1.0, 1 / (1 - NOISE) - 1e-6))
    rates = winner.rates
    if rates is not None:
        rates = msgspec.structs.replace(
            rates, prefill_rate=rates.prefill_rate * gain, decode_rate=rates.decode_rate * gain
        )
    return msgspec.structs.replace(
        winner,
        type="LOSER",
        size_bytes=winner.size_bytes + numbers.randint(0, 1) * MB,
        divergence=msgspec.structs.replace(winner.divergence, mean=winner.divergence.mean + 0.0001),
        rates=rates,
    )


def test_the_real_figures() -> None:
    advice = advise(REAL)
    assert advice.type == "Q4_K_M"
    assert advice.is_hardly_worse
    assert states(advice) == {
        "IQ4_NL": "frontier",
        "Q4_0": "beaten",  # as fast within noise, and farther
        "Q4_1": "beaten",
        "Q4_K_S": "frontier",
        "Q4_K_M": "recommended",
        "Q5_K_M": "frontier",
        "Q6_K": "frontier",
        "Q8_0": "frontier",
    }
    assert [each.candidate.type for each in advice.ranked][:3] == ["IQ4_NL", "Q4_0", "Q4_1"]  # smallest first
    assert advice.reason == (
        "Q4_K_M: 106 MB, mean divergence 0.0333 ± 0.0010. Of the 5 that nothing beats and that are hardly worse than "
        "the source (mean divergence at most 0.05) it is one of the fastest (with Q4_K_S, within 5 %) and closest to "
        "the source. Against Q8_0, the closest to the source, it reads 0.83× and writes 1.18× as fast in 0.73× the "
        "size."
    )


def test_a_looser_bound_takes_the_faster() -> None:
    advice = advise(REAL, most_divergence=0.1)
    assert advice.type == "IQ4_NL"
    assert "it is the fastest. Against Q8_0, the closest to the source, it reads 2.00×" in advice.reason


def test_one_candidate_is_recommended() -> None:
    advice = advise([REAL[0]])
    assert (advice.type, advice.is_hardly_worse) == ("Q8_0", True)
    assert "the only one hardly worse" in advice.reason


def test_of_equals_none_is_beaten_and_the_better_by_name_is_taken() -> None:
    equals = [msgspec.structs.replace(REAL[0], type=kind) for kind in ("Q4_0", "Q8_0", "Q6_K")]
    advice = advise(equals)
    assert advice.type == "Q8_0"
    assert sorted(states(advice).values()) == ["frontier", "frontier", "recommended"]


def test_none_good_enough_takes_the_closest_and_says_so() -> None:
    bad = [candidate_of("Q4_0", 90, 0.3, 900, 90), candidate_of("Q4_1", 100, 0.2, 100, 10)]
    advice = advise(bad)
    assert (advice.type, advice.is_hardly_worse) == ("Q4_1", False)
    assert "is above 0.05" in advice.reason
    assert "closest to the source" in advice.reason


def test_one_that_is_not_good_enough() -> None:
    advice = advise([candidate_of("Q4_0", 90, 0.3, 900, 90)])
    assert not advice.is_hardly_worse
    assert "the only one that was measured" in advice.reason


def test_without_speeds_the_smallest_that_is_good_is_taken() -> None:
    advice = advise([msgspec.structs.replace(each, rates=None) for each in REAL])
    assert advice.type == "Q4_K_S"
    assert "speed was not measured" in advice.reason
    assert "Against Q8_0, the closest to the source, it has 0.70× the size." in advice.reason


def test_a_candidate_without_speed_is_not_taken_for_the_fastest() -> None:
    mute = candidate_of("Q4_K_S", 80, 0.01)
    advice = advise([mute, candidate_of("Q8_0", 140, 0.003, 100, 10)])
    assert advice.type == "Q8_0"
    assert states(advice)["Q4_K_S"] == "frontier"


@pytest.mark.parametrize("rate", [0.0, math.nan, math.inf])
def test_rates_that_are_none_count_as_unknown(rate: float) -> None:
    broken = candidate_of("Q4_K_S", 80, 0.01, rate, 10)
    assert turn_seconds(broken) == math.inf
    assert advise([broken, candidate_of("Q8_0", 140, 0.003, 100, 10)]).type == "Q8_0"


@pytest.mark.parametrize("mean", [math.nan, math.inf])
def test_a_broken_model_is_never_preferred(mean: float) -> None:
    broken = candidate_of("Q4_0", 80, mean, 9000, 900)
    advice = advise([broken, candidate_of("Q8_0", 140, 0.003, 100, 10)])
    assert advice.type == "Q8_0"
    assert not advise([broken]).is_hardly_worse


def test_what_does_not_fit_is_not_considered() -> None:
    large = candidate_of("Q8_0", 140, 0.003, 900, 90, memory_bytes=400 * MB)
    small = candidate_of("Q4_K_S", 100, 0.04, 100, 10, memory_bytes=200 * MB)
    advice = advise([large, small], room_bytes=300 * MB)
    assert advice.type == "Q4_K_S"
    assert states(advice) == {"Q4_K_S": "recommended", "Q8_0": "too large"}


def test_one_that_does_not_fit_beats_nobody() -> None:
    hungry = candidate_of("IQ4_NL", 80, 0.01, 900, 90, memory_bytes=400 * MB)
    modest = candidate_of("Q4_0", 90, 0.02, 100, 10, memory_bytes=200 * MB)
    assert states(advise([hungry, modest]))["Q4_0"] == "beaten"
    assert advise([hungry, modest], room_bytes=300 * MB).type == "Q4_0"


def test_when_nothing_fits_the_most_frugal_is_named() -> None:
    with pytest.raises(NoRoom, match="200 MB, takes Q4_0, and 100 MB are free"):
        advise(
            [
                candidate_of("Q8_0", 140, 0.003, 1, 1, memory_bytes=400 * MB),
                candidate_of("Q4_0", 90, 0.02, 1, 1, memory_bytes=200 * MB),
            ],
            room_bytes=100 * MB,
        )


def test_memory_is_estimated_where_it_was_not_measured() -> None:
    assert memory_bytes(candidate_of("Q8_0", 100, 0.003)) > 100 * MB


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(InvalidRequest):
        advise([])


def test_a_candidate_needs_a_divergence() -> None:
    with pytest.raises(InvalidRequest, match="Q8_0 was not compared"):
        candidate("Q8_0", Measurement(size_bytes=1, bits_per_weight=8.5))
    divergence = Divergence(mean=0.1, error=0.01, p99=1.0, max=2.0, same_top=0.9)
    rates = Rates(prefill_rate=1.0, decode_rate=2.0, peak_memory_bytes=3)
    measured = Measurement(size_bytes=1, bits_per_weight=8.5, divergence=divergence, rates=rates)
    assert candidate("Q8_0", measured) == Candidate(
        type="Q8_0", size_bytes=1, bits_per_weight=8.5, divergence=divergence, rates=rates
    )


def test_a_divergence_near_the_bound_is_called_uncertain() -> None:
    assert "within the error of this measurement" in advise([candidate_of("Q4_0", 90, 0.049, error=0.004)]).reason
    assert "within the error" not in advise([candidate_of("Q4_0", 90, 0.03, error=0.004)]).reason
    assert advise([candidate_of("Q4_0", 90, HARDLY_WORSE)]).is_hardly_worse


def test_noise_does_not_keep_a_worse_one_on_the_frontier() -> None:
    better, worse = candidate_of("Q4_K_S", 100, 0.03, 100, 100), candidate_of("Q4_1", 110, 0.05, 104, 104)
    assert types(frontier([better, worse])) == ["Q4_K_S"]
    faster = candidate_of("Q4_1", 110, 0.05, 106, 106)
    assert types(frontier([better, faster])) == ["Q4_K_S", "Q4_1"]


def test_who_is_beaten_by_a_beaten_one_alone_stays() -> None:
    """Noise adds up: A is not beaten by C, though A by B and B by C would be."""
    a, b, c = (
        candidate_of("A", 120, 0.04, 108, 108),
        candidate_of("B", 110, 0.03, 104, 104),
        candidate_of("C", 100, 0.02, 100, 100),
    )
    assert types(frontier([a, b])) == ["B"]
    assert types(frontier([a, b, c])) == ["C", "A"]


def test_the_recommended_one_is_on_the_frontier() -> None:
    for seed in SEEDS:
        numbers = random.Random(seed)
        candidates = drawn(numbers, speeds=numbers.choice((0.0, 0.5, 1.0)))
        advice = advise(candidates)
        assert advice.type in types(frontier(candidates))
        assert list(states(advice).values()).count("recommended") == 1
        assert sorted(states(advice)) == sorted(each.type for each in candidates)


def test_every_beaten_one_is_beaten_by_one_of_the_frontier() -> None:
    for seed in SEEDS:
        candidates = drawn(random.Random(seed))
        by_type = {each.type: each for each in candidates}
        best = types(frontier(candidates))
        for ranked in advise(candidates).ranked:
            assert (ranked.state == "beaten") == (ranked.candidate.type not in best)
            if ranked.state == "beaten":
                winner, loser = by_type[ranked.beaten_by], ranked.candidate
                assert winner.type in best
                assert winner.size_bytes <= loser.size_bytes
                assert winner.divergence.mean <= loser.divergence.mean
                assert winner.rates is not None
                assert loser.rates is not None
                assert winner.rates.prefill_rate >= (1 - NOISE) * loser.rates.prefill_rate
                assert winner.rates.decode_rate >= (1 - NOISE) * loser.rates.decode_rate


def test_a_dominated_candidate_changes_nothing() -> None:
    for seed in SEEDS:
        numbers = random.Random(seed)
        candidates = drawn(numbers, speeds=numbers.choice((0.0, 0.5, 1.0)))
        loser = loser_to(numbers.choice(frontier(candidates)), numbers)
        place = numbers.randint(0, len(candidates))
        more = [*candidates[:place], loser, *candidates[place:]]
        assert states(advise(more)) == states(advise(candidates)) | {"LOSER": "beaten"}
        assert advise(more).reason == advise(candidates).reason


def test_the_order_of_the_candidates_does_not_matter() -> None:
    for seed in SEEDS:
        numbers = random.Random(seed)
        candidates = drawn(numbers)
        shuffled = numbers.sample(candidates, len(candidates))
        assert advise(shuffled) == advise(candidates)


def test_the_recommended_one_is_hardly_worse_if_any_is() -> None:
    for seed in SEEDS:
        candidates = drawn(random.Random(seed))
        advice = advise(candidates)
        chosen = next(each for each in candidates if each.type == advice.type)
        is_any = any(each.divergence.mean <= HARDLY_WORSE for each in candidates)
        assert advice.is_hardly_worse == is_any == (chosen.divergence.mean <= HARDLY_WORSE)
