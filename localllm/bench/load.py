"""Load: several streams at once against each server in turn, so that noise hits all of them alike."""

import random
import secrets
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from localllm.bench.client import Target
from localllm.bench.prompts import task
from localllm.bench.rates import decode_rate, quantile
from localllm.bench.together import Request, together


class LoadPlan(Struct, frozen=True, kw_only=True):
    """What to send."""

    levels: tuple[int, ...] = (1, 4, 8)  # streams at once
    repeats: int = 3
    prompt_tokens: int = 32
    answer_tokens: int = 96
    seed: int = field(default_factory=lambda: secrets.randbits(32))  # new, so that no server remembers the prompts


class LevelResult(Struct, frozen=True, kw_only=True):
    """One server at one level, once. Rates are tokens a second, over all streams."""

    target: str
    streams: int
    failures: int
    failure: str  # the first one, in words
    total_rate: float  # answer tokens by the time from the first request to the last answer
    decode_rate: float  # while every stream was decoding; 0 where there was no such time
    first_token_seconds: float  # median of the streams
    gap_p50_seconds: float
    gap_p99_seconds: float


Told = Callable[[LevelResult], None]


async def run_load(targets: Sequence[Target], plan: LoadPlan, told: Told) -> list[LevelResult]:
    """Measure every target at every level; A B, then B A, which cancels drift. `told` gets each result."""
    results: list[LevelResult] = []
    for target in targets:  # uncounted: connections, code paths, lazy loading
        await run_level(target, 1, LoadPlan(answer_tokens=8), seed=plan.seed)
    for repeat in range(plan.repeats):
        for streams in plan.levels:
            seed = hash((plan.seed, repeat, streams))
            for target in targets if repeat % 2 == 0 else targets[::-1]:
                result = await run_level(target, streams, plan, seed)
                results.append(result)
                told(result)
    return results


async def run_level(target: Target, streams: int, plan: LoadPlan, seed: int) -> LevelResult:
    """`streams` requests at once, each with a prompt of its own."""
    source = random.Random(seed)  # noqa: S311  prompts, not secrets
    prompts = [task(source, plan.prompt_tokens) for _ in range(streams)]
    outcome = await together(target, [Request.of(prompt, plan.answer_tokens) for prompt in prompts])
    samples, faults = outcome.samples, outcome.faults
    gaps = [gap for sample in samples for gap in sample.gaps]
    return LevelResult(
        target=target.name,
        streams=streams,
        failures=len(faults),
        failure=faults[0] if faults else "",
        total_rate=outcome.total_rate,
        decode_rate=decode_rate(samples) if not faults else 0.0,
        first_token_seconds=outcome.first_token_seconds,
        gap_p50_seconds=quantile(gaps, 0.5),
        gap_p99_seconds=quantile(gaps, 0.99),
    )
