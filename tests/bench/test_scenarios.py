"""The scenarios: played against our own server, over a socket, with the echo engine; figures from made samples."""

import random
from collections.abc import Sequence

import pytest

from localllm.bench.client import Sample, Target
from localllm.bench.rates import decode_rate, gaps_within, quantile
from localllm.bench.scenario import Goal, Measured, Reading, Scenario, play_rounds
from localllm.bench.scenarios import SCENARIOS, goals_by_scenario
from localllm.bench.together import Request, together
from localllm.bench.verdict import Row, measured_line, rows_of, texts_compared, verdict_table
from tests.marks import slow
from tests.serving import running_server, running_service

pytestmark = pytest.mark.anyio

SPEED = Goal(work="speed", value="rate", wanted=1.5)
DELAY = Goal(work="delay", value="wait_seconds", wanted=0.5, is_lower_better=True)


def sample(begin: float, step: float, count: int, tokens: int) -> Sample:
    return Sample(start=0.0, arrivals=[begin + i * step for i in range(count)], completion_tokens=tokens)


def measured(
    target: str, number: int, *, texts: Sequence[str] = (), faults: Sequence[str] = (), **values: float
) -> Measured:
    reading = Reading(values=values, texts=list(texts), faults=list(faults))
    return Measured(scenario="s", target=target, round=number, reading=reading)


@pytest.mark.slow
async def test_scenarios_give_the_values_that_their_goals_name() -> None:
    async with running_service("echo:1000", jobs=17) as service, running_server(service) as url:
        target = Target(name="ours", url=url, model="echo:1000", extra={"ignore_eos": True})
        for scenario in SCENARIOS:
            [result] = await play_rounds(scenario, [target], 1, lambda _: None, seed=1, quick=True)
            assert result.reading.faults == []
            for goal in scenario.goals:
                # on a busy machine short answers may never overlap: no decode rate then
                assert goal.value in result.reading.values
                assert goal.value == "decode_rate" or result.reading.values[goal.value] > 0


async def test_rounds_take_turns_with_the_same_prompts_and_new_ones_each_round() -> None:
    drawn: list[tuple[str, float]] = []

    async def play(target: Target, source: random.Random, quick: bool) -> Reading:
        drawn.append((target.name, source.random()))
        return Reading(values={"rate": 1.0})

    scenario = Scenario(name="s", slots=1, context=1, play=play, goals=(SPEED,))
    told: list[Measured] = []
    async with running_service("echo") as service, running_server(service) as url:
        targets = [Target(name=name, url=url, model="echo") for name in "ab"]
        results = await play_rounds(scenario, targets, 3, told.append, seed=7)
    assert told == results
    assert [name for name, _ in drawn] == ["a", "b", "b", "a", "a", "b"]
    values = [value for _, value in drawn]
    assert values[0::2] == values[1::2]
    assert len(set(values)) == 3
    assert [(r.target, r.round) for r in results] == list(zip("abbaab", (0, 0, 1, 1, 2, 2), strict=True))


@pytest.mark.parametrize("scenario", [SCENARIOS[0], *map(slow, SCENARIOS[1:])], ids=lambda scenario: scenario.name)
async def test_a_server_that_refuses_is_a_fault_not_an_end(scenario: Scenario) -> None:
    async with running_service("echo") as service, running_server(service) as url:
        target = Target(name="ours", url=url, model="nobody")
        reading = await scenario.play(target, random.Random(1), True)
    assert reading.faults
    assert "404" in reading.faults[0]
    result = Measured(scenario=scenario.name, target="ours", round=0, reading=reading)
    assert "404" in measured_line(result)
    peer = Measured(scenario=scenario.name, target="peer", round=0, reading=reading)
    for row in rows_of([result, peer], {scenario.name: scenario.goals}):
        assert (row.ours, row.theirs, row.ratio) == (0, 0, 0)
        assert row.failures == 2 * len(reading.faults)
        assert not row.is_met


async def test_samples_are_in_the_order_of_the_requests() -> None:
    async with running_service("echo") as service, running_server(service) as url:
        target = Target(name="ours", url=url, model="echo")
        requests = [
            Request.of("first to be asked", 40, delay_seconds=0.05),
            Request.of("second", 40),
        ]
        outcome = await together(target, requests)
    assert [sample.text for sample in outcome.samples] == ["first to be asked", "second"]
    assert outcome.samples[0].start > outcome.samples[1].start
    assert outcome.samples[1].completion_tokens >= len("second")
    assert outcome.wall_seconds >= 0.05


def test_the_decode_rate_counts_the_time_that_all_share() -> None:
    long, short = sample(1.0, 0.1, 101, 101), sample(2.0, 0.1, 11, 11)
    assert decode_rate([long, short]) == pytest.approx(20, rel=0.06)
    assert decode_rate([long], after=5.0) == pytest.approx(10, rel=0.03)
    assert decode_rate([sample(0.0, 1.0, 3, 9)]) == pytest.approx(3)  # three tokens in each delta
    assert decode_rate([short], after=3.5) == 0
    assert decode_rate([]) == 0


def test_pauses_that_reach_into_the_window_count_whole() -> None:
    assert gaps_within([0.0, 1.0, 3.0, 3.5, 9.0], 2.0, 3.2) == [2.0, 0.5]
    assert gaps_within([0.0], 0.0, 1.0) == []
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 3.0
    assert quantile(list(range(100)), 0.99) == 99
    assert quantile([], 0.5) == 0


def test_ratios_are_of_medians_and_rounds_with_failures_do_not_count() -> None:
    results = [
        *(measured("ours", n, rate=rate, wait_seconds=0.1) for n, rate in enumerate((30.0, 20.0, 40.0))),
        measured("ours", 3, rate=1.0, wait_seconds=9.0, faults=["broke"]),
        *(measured("peer", n, rate=15.0, wait_seconds=0.4) for n in range(4)),
    ]
    speed, delay = rows_of(results, {"s": (SPEED, DELAY), "never played": (SPEED,)})
    assert (speed.ours, speed.theirs, speed.ratio, speed.failures) == (30.0, 15.0, 2.0, 1)
    assert speed.round_ratios == pytest.approx([2.0, 20 / 15, 40 / 15])
    assert speed.is_met
    assert delay.ratio == pytest.approx(0.25)
    assert delay.is_met


@pytest.mark.parametrize(
    ("goal", "ours", "is_met"),
    [
        (SPEED, 15.0, True),
        (SPEED, 14.9, False),
        (DELAY, 5.0, True),
        (DELAY, 5.1, False),
        (SPEED, 0.0, False),
        (DELAY, 0.0, False),
    ],
)
def test_a_goal_is_met_at_the_wanted_ratio(goal: Goal, ours: float, is_met: bool) -> None:
    row = Row(goal=goal, peer="peer", ours=ours, theirs=10.0, round_ratios=[], failures=0)
    assert row.is_met is is_met


def test_the_table_has_a_line_for_each_figure_and_peer() -> None:
    results = [
        measured("ours", 0, texts=["a", "b"], rate=30.0, wait_seconds=0.1),
        measured("one", 0, texts=["a", "c"], rate=15.0, wait_seconds=0.1),
        measured("two", 0, texts=["a", "b"], rate=60.0, faults=["broke"]),
    ]
    table = verdict_table(rows_of(results, {"s": (SPEED, DELAY)}), texts_compared(results))
    cells = list(zip(*(column.cells for column in table.columns), strict=True))
    assert cells == [
        ("speed", "30.0/s", "15.0/s", "one", "2.00", "2.00–2.00", "≥ 1.50", "yes", ""),
        ("speed", "30.0/s", "–", "two", "–", "–", "≥ 1.50", "no", "1"),
        ("delay", "100.0 ms", "100.0 ms", "one", "1.00", "1.00–1.00", "≤ 0.50", "no", ""),
        ("delay", "100.0 ms", "–", "two", "–", "–", "≤ 0.50", "no", "1"),
        ("s, same texts", "3 of 4", "", "", "", "", "all", "no", ""),
    ]


def test_every_scenario_says_what_it_is_and_has_something_to_show() -> None:
    goals = goals_by_scenario()
    assert [name for name in goals if name.startswith("loop")] == ["loop-1", "loop-4", "loop-16"]
    for scenario in SCENARIOS:
        assert scenario.words.endswith(".")
        assert goals[scenario.name] == scenario.goals
        assert any(goal.wanted for goal in scenario.goals)
