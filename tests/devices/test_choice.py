"""Which engine is taken, by made figures."""

import pytest

from localllm.devices.choice import LEAD, Choice, Rates, choose
from localllm.types import Workload

LLAMA: Rates = {"chat": 100.0, "reading": 560.0, "serving": 200.0}
OTHER: Rates = {"chat": 70.0, "reading": 2310.0, "serving": 210.0}


def choice(rates: dict[str, Rates], workload: Workload = "chat") -> Choice:
    return choose(rates, workload)


@pytest.mark.parametrize(
    ("workload", "engine", "reason"),
    [
        (
            "chat",
            "llama_cpp",
            "llama_cpp gives one answer at a time 1.4 times as fast as openvino here (100 against 70.0 tokens a "
            "second); reading prompts it is 0.2 times as fast, many answers at once 0.95 times as fast",
        ),
        (
            "reading",
            "openvino",
            "openvino reads prompts 4.1 times as fast as llama_cpp here (2,310 against 560 tokens a second); one "
            "answer at a time it is 0.7 times as fast, many answers at once 1.05 times as fast",
        ),
        (
            "serving",
            "llama_cpp",
            "openvino gives many answers at once 1.05 times as fast as llama_cpp here (210 against 200 tokens a "
            "second); one answer at a time it is 0.7 times as fast, reading prompts 4.1 times as fast; llama_cpp is "
            "left only for 1.10 times its speed",
        ),
    ],
)
def test_the_faster_one_is_taken_with_the_figures(workload: Workload, engine: str, reason: str) -> None:
    for rates in ({"llama_cpp": LLAMA, "openvino": OTHER}, {"openvino": OTHER, "llama_cpp": LLAMA}):
        assert choice(rates, workload) == Choice(engine=engine, reason=reason)


@pytest.mark.parametrize(
    ("rate", "engine"),
    [(100.0, "llama_cpp"), (109.9, "llama_cpp"), (100.0 * LEAD, "other"), (5.0, "llama_cpp"), (1e6, "other")],
)
def test_the_usual_one_is_left_for_a_clear_lead_alone(rate: float, engine: str) -> None:
    assert choice({"llama_cpp": {"chat": 100.0}, "other": {"chat": rate}}).engine == engine


def test_of_several_the_fastest_is_compared_with_the_usual_one() -> None:
    found = choice({"llama_cpp": {"chat": 10.0}, "a": {"chat": 20.0}, "b": {"chat": 30.0}})
    assert found.engine == "b"
    assert "3.0 times as fast as llama_cpp here (30.0 against 10.0 tokens a second)" in found.reason
    assert "; " not in found.reason  # nothing else was measured


def test_the_usual_one_is_compared_with_the_fastest_of_the_others() -> None:
    found = choice({"llama_cpp": {"chat": 40.0}, "a": {"chat": 20.0}, "b": {"chat": 30.0}})
    assert found.engine == "llama_cpp"
    assert "1.3 times as fast as b here" in found.reason


def test_without_the_usual_one_any_lead_will_do_and_of_equals_the_first() -> None:
    assert choice({"a": {"chat": 20.0}, "b": {"chat": 20.1}}).engine == "b"
    found = choice({"a": {"chat": 20.0}, "b": {"chat": 20.0}})
    assert found.engine == "a"
    assert "1.00 times as fast as b here" in found.reason


def test_another_format_has_another_usual_one() -> None:
    rates: dict[str, Rates] = {"executorch": {"chat": 20.0}, "other": {"chat": 21.0}}
    assert choose(rates, "chat", "executorch").engine == "executorch"


def test_one_without_a_figure_does_not_compete() -> None:
    found = choice({"llama_cpp": {"chat": 20.0}, "slow": {}})
    assert found.engine == "llama_cpp"
    assert found.reason == "llama_cpp gives one answer at a time at 20.0 tokens a second here; no other one has a " + (
        "figure for that"
    )
    assert choice({"llama_cpp": {"reading": 20.0}, "other": {"chat": 1.0}}).engine == "other"


def test_without_any_figure_the_usual_one_is_taken() -> None:
    assert choice({}).engine == "llama_cpp"
    assert choice({"other": {"reading": 5.0}}).engine == "llama_cpp"
    assert "without measuring" in choice({}).reason
