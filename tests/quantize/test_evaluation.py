"""Evaluations: from the steps' results, and in words."""

import msgspec
import pytest

from localllm.quantize.evaluation import (
    Divergence,
    Estimate,
    Evaluation,
    Measurement,
    Rates,
    Row,
    measurement,
    percent,
    rows,
    short,
    unmeasured,
)
from localllm.quantize.steps import BaseScored, Compared, Perplexity, Speed
from tests.quantize.examples import EVALUATION, MB

replace = msgspec.structs.replace
BARE = Evaluation(
    before=Measurement(size_bytes=200 * MB, bits_per_weight=16.0),
    after=Measurement(size_bytes=50 * MB, bits_per_weight=4.0),
)


def test_a_measurement_is_put_together_from_the_steps() -> None:
    perplexity = Perplexity(value=15.0, error=0.5)
    compared = Compared(
        perplexity=perplexity,
        divergence_mean=0.1,
        divergence_error=0.01,
        divergence_p99=1.0,
        divergence_max=9.0,
        same_top=0.8,
        positions=100,
    )
    speed = Speed(prefill_rate=100.0, decode_rate=10.0, load_seconds=1.0, peak_memory_bytes=7)
    assert measurement(5, 4.5, scored=compared, speed=speed) == Measurement(
        size_bytes=5,
        bits_per_weight=4.5,
        perplexity=Estimate(value=15.0, error=0.5),
        divergence=Divergence(mean=0.1, error=0.01, p99=1.0, max=9.0, same_top=0.8),
        rates=Rates(prefill_rate=100.0, decode_rate=10.0, peak_memory_bytes=7),
    )
    base = measurement(5, 4.5, scored=BaseScored(perplexity=perplexity, chunks=1, positions=100))
    assert base.perplexity == Estimate(value=15.0, error=0.5)
    assert (base.divergence, base.rates) == (None, None)
    assert measurement(5, 4.5) == Measurement(size_bytes=5, bits_per_weight=4.5)


def test_the_comparison_in_words() -> None:
    assert rows(EVALUATION) == [
        Row("size", "271 MB", "105 MB", "0.39×"),
        Row("bits per weight", "16.00", "6.17", "0.39×"),
        Row("perplexity", "15.20 ± 0.87", "15.66 ± 0.91", "1.031×"),
        Row("divergence, mean", "–", "0.0333 ± 0.0012", ""),
        Row("divergence, p99", "–", "0.212", ""),
        Row("divergence, most", "–", "2.31", ""),
        Row("same first choice", "–", "89.9 %", ""),
        Row("reading, tokens/s", "301.2", "515.0", "1.71×"),
        Row("writing, tokens/s", "44.1", "104.3", "2.37×"),
        Row("peak memory", "420 MB", "250 MB", "0.60×"),
    ]


def test_what_was_not_measured_has_no_row() -> None:
    assert [row.name for row in rows(BARE)] == ["size", "bits per weight"]


def test_what_was_measured_on_one_side_alone_has_no_ratio() -> None:
    half = replace(BARE, after=EVALUATION.after)
    assert Row("perplexity", "–", "15.66 ± 0.91", "") in rows(half)
    stopped = replace(EVALUATION, before=replace(EVALUATION.before, rates=Rates(
        prefill_rate=0.0, decode_rate=0.0, peak_memory_bytes=0)))  # fmt: skip
    assert Row("writing, tokens/s", "0.0", "104.3", "") in rows(stopped)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_figures_of_a_broken_model_are_no_figures(value: float) -> None:
    broken = replace(EVALUATION, after=replace(EVALUATION.after, perplexity=Estimate(value=value, error=value)))
    assert Row("perplexity", "15.20 ± 0.87", "–", "") in rows(broken)
    assert (short(value), percent(value)) == ("–", "–")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (0.0000062, "6.2e-06"),
        (-0.0000001, "-1e-07"),
        (0.00142, "0.0014"),
        (0.0333, "0.0333"),
        (0.1734, "0.173"),
        (1.7, "1.70"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (1.5e7, "1.5e+07"),
    ],
)
def test_figures_are_short(value: float, words: str) -> None:
    assert short(value) == words


def test_what_is_missing_is_listed() -> None:
    assert unmeasured(EVALUATION) == []
    assert unmeasured(BARE) == unmeasured(None) == [
        "perplexity",
        "how far the result is from its source",
        "speed and memory",
    ]  # fmt: skip
    assert unmeasured(replace(EVALUATION, after=replace(EVALUATION.after, rates=None))) == ["speed and memory"]
