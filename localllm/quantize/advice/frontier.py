"""Which of the measured candidates are worth having, and which one to take.

**Beaten.** A candidate is beaten by one that is no larger, no farther from the source and no slower, and better in
one of these. Rates within NOISE of each other count as equal here: repeated runs on one machine differ by as much. The
frontier is what no member of the frontier beats. That set always exists and is unique, since nothing can beat in a
circle: a circle's sizes and divergences would all be equal, and then rates are compared exactly. A beaten candidate
therefore changes nothing for the others.

**Recommended.** Of the frontier's candidates that are hardly worse than the source (mean divergence up to
HARDLY_WORSE), the one that is through first with a usual turn: READ_TOKENS read, WRITE_TOKENS written. Among those
within NOISE of the fastest the closest to the source is taken, then the smallest. Where speed was not measured the
smallest is taken, for each token reads all of the weights. Where nothing is hardly worse, it is the closest.
"""

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from localllm.errors import InvalidRequest, NoRoom
from localllm.models.quant import needed_bytes, rank
from localllm.quantize.evaluation import Divergence, Measurement, Rates, short
from localllm.units import size_words

NOISE = 0.05
READ_TOKENS = 512
WRITE_TOKENS = 128
HARDLY_WORSE = 0.05
"""Nats. On Llama 3 8B (llama.cpp, tools/perplexity/README.md, "LLaMA 3 8b Scoreboard"): Q8_0 0.001, Q6_K 0.005, Q5_K_M
0.011, and of four bits Q4_K_M 0.031 (the source's first choice of token at 91.9 % of positions), IQ4_XS 0.036, Q4_K_S
0.043; above lie Q4_0 and Q4_1 with 0.072 and all of three bits from 0.073 on. Small models
lose more in every type."""


class Candidate(Struct, frozen=True, kw_only=True):
    """A type that was made and measured."""

    type: str
    size_bytes: int
    bits_per_weight: float
    divergence: Divergence
    rates: Rates | None = None  # None: speed was not measured, which counts as slower than any


class Ranked(Struct, frozen=True, kw_only=True):
    """A candidate and how it stands."""

    candidate: Candidate
    state: Literal["recommended", "frontier", "beaten", "too large"]
    beaten_by: str = ""  # the type; one of them


class Advice(Struct, frozen=True, kw_only=True):
    """What to take and why, in words for the user."""

    type: str
    reason: str
    is_hardly_worse: bool  # than the source: within `most_divergence`
    most_divergence: float
    ranked: tuple[Ranked, ...]  # smallest first


def candidate(kind: str, measured: Measurement) -> Candidate:
    """A candidate from its measurement. Raises InvalidRequest where divergence was not measured."""
    if measured.divergence is None:
        raise InvalidRequest(f"{kind} was not compared with its source, so nothing can be recommended", param="type")
    return Candidate(
        type=kind,
        size_bytes=measured.size_bytes,
        bits_per_weight=measured.bits_per_weight,
        divergence=measured.divergence,
        rates=measured.rates,
    )


def frontier(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that none of them beats, smallest first."""
    return [candidate for candidate, by in _beaten(candidates) if by is None]


def advise(
    candidates: Sequence[Candidate], *, room_bytes: int | None = None, most_divergence: float = HARDLY_WORSE
) -> Advice:
    """The one to take. With `room_bytes`, only what fits so much memory is considered at all.

    Raises InvalidRequest without candidates, NoRoom if none fits.
    """
    if not candidates:
        raise InvalidRequest("no type was measured, so nothing can be recommended", param="type")
    fitting = [each for each in candidates if room_bytes is None or memory_bytes(each) <= room_bytes]
    if not fitting:
        raise _no_room(candidates, room_bytes or 0)
    compared = _beaten(fitting)
    best = [each for each, by in compared if by is None]
    good = [each for each in best if _distance(each) <= most_divergence]
    chosen = _fastest(good) if good else min(best, key=_by_quality)
    ranked = [_ranked(each, by, chosen) for each, by in compared]
    ranked += [Ranked(candidate=each, state="too large") for each in candidates if each not in fitting]
    return Advice(
        type=chosen.type,
        reason=_reason(chosen, good, most_divergence) if good else _no_good(chosen, best, most_divergence),
        is_hardly_worse=bool(good),
        most_divergence=most_divergence,
        ranked=tuple(sorted(ranked, key=lambda each: (each.candidate.size_bytes, _by_quality(each.candidate)))),
    )


def turn_seconds(candidate: Candidate) -> float:
    """How long a usual turn takes; infinite where a rate is not known."""
    prefill, decode = _rates(candidate)
    return READ_TOKENS / prefill + WRITE_TOKENS / decode if prefill and decode else math.inf


def memory_bytes(candidate: Candidate) -> int:
    """The memory that it took when it was measured, or else would take by its size."""
    measured = candidate.rates.peak_memory_bytes if candidate.rates else 0
    return measured or needed_bytes(candidate.size_bytes)


def _beaten(candidates: Sequence[Candidate]) -> list[tuple[Candidate, Candidate | None]]:
    """Each candidate and the member of the frontier that beats it, if one does.

    In this order whatever beats a candidate comes before it, so that one pass finds the frontier.
    """
    best: list[Candidate] = []
    found: list[tuple[Candidate, Candidate | None]] = []
    for each in sorted(candidates, key=_order):
        by = next((other for other in best if _beats(other, each)), None)
        found.append((each, by))
        if by is None:
            best.append(each)
    return found


def _order(candidate: Candidate) -> tuple[object, ...]:
    prefill, decode = _rates(candidate)
    return candidate.size_bytes, _distance(candidate), -decode, -prefill, rank(candidate.type), candidate.type


def _beats(better: Candidate, worse: Candidate) -> bool:
    if better.size_bytes > worse.size_bytes or _distance(better) > _distance(worse):
        return False
    rates, others = _rates(better), _rates(worse)
    if better.size_bytes < worse.size_bytes or _distance(better) < _distance(worse):
        return all(rate >= (1 - NOISE) * other for rate, other in zip(rates, others, strict=True))
    return rates != others and all(rate >= other for rate, other in zip(rates, others, strict=True))


def _fastest(good: Sequence[Candidate]) -> Candidate:
    return min(_as_fast(good), key=_by_quality)


def _as_fast(good: Sequence[Candidate]) -> list[Candidate]:
    """Those that are the fastest, as far as noise lets us tell; without rates, the smallest."""
    least = min(map(turn_seconds, good))
    if math.isinf(least):
        smallest = min(each.size_bytes for each in good)
        return [each for each in good if each.size_bytes == smallest]
    return [each for each in good if turn_seconds(each) * (1 - NOISE) <= least]


def _by_quality(candidate: Candidate) -> tuple[float, int, float, int, str]:
    return (
        _distance(candidate),
        candidate.size_bytes,
        turn_seconds(candidate),
        rank(candidate.type),
        candidate.type,
    )


def _distance(candidate: Candidate) -> float:
    """The mean divergence; of a model so broken that it has none, infinite."""
    mean = candidate.divergence.mean
    return mean if math.isfinite(mean) else math.inf


def _rates(candidate: Candidate) -> tuple[float, float]:
    """Of reading and writing; 0 for what is not known."""
    if candidate.rates is None:
        return 0.0, 0.0
    prefill, decode = (
        rate if math.isfinite(rate) and rate > 0 else 0.0
        for rate in (candidate.rates.prefill_rate, candidate.rates.decode_rate)
    )
    return prefill, decode


def _ranked(candidate: Candidate, by: Candidate | None, chosen: Candidate) -> Ranked:
    if by is not None:
        return Ranked(candidate=candidate, state="beaten", beaten_by=by.type)
    return Ranked(candidate=candidate, state="recommended" if candidate is chosen else "frontier")


def _reason(chosen: Candidate, good: Sequence[Candidate], most: float) -> str:
    """Why it was chosen among those that are hardly worse than the source."""
    what = (
        f"{chosen.type}: {size_words(chosen.size_bytes)}, mean divergence {short(chosen.divergence.mean)} ± "
        f"{short(chosen.divergence.error)}. "
    )
    few = f"hardly worse than the source (mean divergence at most {most:g})"
    if len(good) == 1:
        return f"{what}Of those that nothing beats it is the only one {few}.{_doubt(chosen, most)}"
    why = f"Of the {len(good)} that nothing beats and that are {few} it is {_merit(chosen, good)}."
    return what + why + _against(chosen, good) + _doubt(chosen, most)


def _merit(chosen: Candidate, good: Sequence[Candidate]) -> str:
    if math.isinf(turn_seconds(chosen)):
        return "the smallest; speed was not measured"
    equals = [each.type for each in _as_fast(good) if each is not chosen]
    if not equals:
        return "the fastest"
    return f"one of the fastest (with {' and '.join(equals)}, within {100 * NOISE:.0f} %) and closest to the source"


def _against(chosen: Candidate, good: Sequence[Candidate]) -> str:
    """What it gains over the closest to the source, which a careful user would take."""
    closest = min(good, key=_by_quality)
    if closest is chosen:
        return " None of them is closer to the source."
    size = f"{chosen.size_bytes / closest.size_bytes:.2f}× the size"
    if math.isinf(turn_seconds(chosen)) or math.isinf(turn_seconds(closest)):
        return f" Against {closest.type}, the closest to the source, it has {size}."
    reading, writing = (new / old for new, old in zip(_rates(chosen), _rates(closest), strict=True))
    return (
        f" Against {closest.type}, the closest to the source, it reads {reading:.2f}× and writes {writing:.2f}× as "
        f"fast in {size}."
    )


def _doubt(chosen: Candidate, most: float) -> str:
    """Where the bound lies within the error of the measurement: the text was too short to be sure."""
    error = chosen.divergence.error
    if abs(chosen.divergence.mean - most) <= error:
        return f" The bound of {most:g} is within the error of this measurement; a longer text would tell."
    return ""


def _no_good(chosen: Candidate, best: Sequence[Candidate], most: float) -> str:
    only = "the only one that was measured" if len(best) == 1 else "the closest to the source of those that fit"
    return (
        f"{chosen.type}: {size_words(chosen.size_bytes)}, {only}, but its mean divergence of "
        f"{short(chosen.divergence.mean)} is above {most:g}: answers will differ noticeably. "
        "Calibrate with a text of your own kind, or take a type with more bits."
    )


def _no_room(candidates: Sequence[Candidate], room_bytes: int) -> NoRoom:
    smallest = min(candidates, key=memory_bytes)
    return NoRoom(
        f"the least memory of those measured, {size_words(memory_bytes(smallest))}, takes {smallest.type}, and "
        f"{size_words(room_bytes)} are free; close other programs or name a smaller type with --type"
    )
