"""What was measured of a model before and after, and the same in words.

Divergence is Kullback-Leibler's, of the source from the result, in nats: how much of what the source would say is lost
at each token on average; 0 is the same model.
"""

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from localllm.quantize.provenance.recipe import Count, Positive, Sha256
from localllm.quantize.steps import BaseScored, Compared, Speed
from localllm.units import size_words

NOT_MEASURED = "–"
_DECIMALS = ((100, 0), (10, 1), (1, 2), (0.1, 3))

Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]  # NaN and infinities are refused where a card is read or written
Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0, le=1e300)]


class Estimate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value with its standard error."""

    value: Finite
    error: Amount


class Divergence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a model is from its source, in nats. Rounding can make the least of them a little less than 0."""

    mean: Finite
    error: Amount  # standard error of the mean
    p99: Finite
    max: Finite
    same_top: Share  # of positions where both find the same token likeliest


class Rates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Medians of one stream, in tokens a second."""

    prefill_rate: Amount
    decode_rate: Amount
    peak_memory_bytes: Count


class Measurement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model. What is None was not measured; a source has no divergence from itself."""

    size_bytes: Positive
    bits_per_weight: Amount
    perplexity: Estimate | None = None
    divergence: Divergence | None = None
    rates: Rates | None = None


class EvaluationText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text that perplexity and divergence were measured on."""

    name: str
    sha256: Sha256
    chunks: Positive
    chunk_tokens: Positive
    positions: Positive  # tokens that were predicted


class Bench(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how speed was measured."""

    processor: str  # its model, such as AMD EPYC 7B13
    threads: Positive
    prompt_tokens: Positive
    answer_tokens: Positive
    repeats: Positive


class Evaluation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model before and after quantization."""

    before: Measurement
    after: Measurement
    text: EvaluationText | None = None  # None: quality was not measured
    bench: Bench | None = None  # None: speed was not measured


class Row(NamedTuple):
    """One line of the comparison, in words; `ratio` is after to before."""

    name: str
    before: str
    after: str
    ratio: str


def measurement(
    size_bytes: int,
    bits_per_weight: float,
    *,
    scored: BaseScored | Compared | None = None,
    speed: Speed | None = None,
) -> Measurement:
    """A model's measurement from what the steps found; `scored` is BaseScored for the source."""
    return Measurement(
        size_bytes=size_bytes,
        bits_per_weight=bits_per_weight,
        perplexity=Estimate(value=scored.perplexity.value, error=scored.perplexity.error) if scored else None,
        divergence=divergence_of(scored) if isinstance(scored, Compared) else None,
        rates=rates_of(speed) if speed else None,
    )


def divergence_of(compared: Compared) -> Divergence:
    """The divergence that a comparison found."""
    return Divergence(
        mean=compared.divergence_mean,
        error=compared.divergence_error,
        p99=compared.divergence_p99,
        max=compared.divergence_max,
        same_top=compared.same_top,
    )


def rates_of(speed: Speed) -> Rates:
    """The rates that a speed measurement found."""
    return Rates(
        prefill_rate=speed.prefill_rate, decode_rate=speed.decode_rate, peak_memory_bytes=speed.peak_memory_bytes
    )


def short(value: float) -> str:
    """A figure to two or three digits: 1.3e-05, 0.0036, 0.0333, 0.173, 1.70, 12.3, 1234."""
    if not math.isfinite(value):
        return NOT_MEASURED
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2g}"
    decimals = next((decimals for least, decimals in _DECIMALS if abs(value) >= least), 4)
    return f"{value:.{decimals}f}"


def percent(share: float) -> str:
    """A share in percent, with one digit behind the point."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else NOT_MEASURED


class _Figure(NamedTuple):
    """A line of the comparison: where its value is, how it reads, and whether a ratio of two says anything."""

    name: str
    value: Callable[[Measurement], float | None]
    words: Callable[[float], str]
    error: Callable[[Measurement], float | None] = lambda _: None
    has_ratio: bool = True


def _divergence(name: str) -> Callable[[Measurement], float | None]:
    return lambda of: getattr(of.divergence, name) if of.divergence else None


def _rate(name: str) -> Callable[[Measurement], float | None]:
    return lambda of: getattr(of.rates, name) if of.rates else None


_FIGURES = (
    _Figure("size", lambda of: of.size_bytes, lambda size: size_words(int(size))),
    _Figure("bits per weight", lambda of: of.bits_per_weight, lambda bits: f"{bits:.2f}"),
    _Figure(
        "perplexity",
        lambda of: of.perplexity.value if of.perplexity else None,
        lambda value: f"{value:.2f}" if value < 1000 else short(value),
        lambda of: of.perplexity.error if of.perplexity else None,
    ),
    _Figure("divergence, mean", _divergence("mean"), short, _divergence("error"), has_ratio=False),
    _Figure("divergence, p99", _divergence("p99"), short, has_ratio=False),
    _Figure("divergence, most", _divergence("max"), short, has_ratio=False),
    _Figure("same first choice", _divergence("same_top"), percent, has_ratio=False),
    _Figure("reading, tokens/s", _rate("prefill_rate"), lambda rate: f"{rate:.1f}"),
    _Figure("writing, tokens/s", _rate("decode_rate"), lambda rate: f"{rate:.1f}"),
    _Figure("peak memory", _rate("peak_memory_bytes"), lambda size: size_words(int(size))),
)


def rows(evaluation: Evaluation) -> list[Row]:
    """The comparison line by line, without those of which nothing was measured."""
    lines = []
    for figure in _FIGURES:
        before, after = (_words(figure, of) for of in (evaluation.before, evaluation.after))
        if (before, after) != (NOT_MEASURED, NOT_MEASURED):
            lines.append(Row(figure.name, before, after, _ratio(figure, evaluation)))
    return lines


def unmeasured(evaluation: Evaluation | None) -> list[str]:
    """What a reader might expect and was not measured, in words."""
    after = evaluation.after if evaluation else None
    missing = []
    if after is None or after.perplexity is None:
        missing.append("perplexity")
    if after is None or after.divergence is None:
        missing.append("how far the result is from its source")
    if after is None or after.rates is None:
        missing.append("speed and memory")
    return missing


def _words(figure: _Figure, of: Measurement) -> str:
    value, error = figure.value(of), figure.error(of)
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    return figure.words(value) + (f" ± {figure.words(error)}" if error is not None else "")


def _ratio(figure: _Figure, evaluation: Evaluation) -> str:
    before, after = figure.value(evaluation.before), figure.value(evaluation.after)
    if not (figure.has_ratio and before and after and math.isfinite(after / before)):
        return ""
    return f"{after / before:.3f}×" if figure.name == "perplexity" else f"{after / before:.2f}×"
