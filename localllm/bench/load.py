"""Load: several streams at once against each server in turn, so that noise hits all of them alike."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Sequence

import httpx2
from msgspec import Struct

from localllm.bench.client import Sample, Target, ask
from localllm.bench.prompts import task
from localllm.errors import RemoteError

REQUEST_SECONDS = 600.0
SYSTEM = "You are a helpful assistant."  # said outright, so that every server gets the same prompt


class LoadPlan(Struct, frozen=True, kw_only=True):
    """What to send."""

    levels: tuple[int, ...] = (1, 4, 8)  # streams at once
    repeats: int = 3
    prompt_tokens: int = 32
    answer_tokens: int = 96
    seed: int = 0


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
    limits = httpx2.Limits(max_connections=streams)
    async with httpx2.AsyncClient(timeout=REQUEST_SECONDS, limits=limits, trust_env=False) as client:
        start = time.perf_counter()
        outcomes = await asyncio.gather(
            *(ask(client, target, _messages(prompt), plan.answer_tokens) for prompt in prompts),
            return_exceptions=True,
        )
        wall = time.perf_counter() - start
    samples = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
    faults = [outcome for outcome in outcomes if isinstance(outcome, RemoteError)]
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, RemoteError):
            raise outcome
    gaps = sorted(gap for sample in samples for gap in sample.gaps)
    return LevelResult(
        target=target.name,
        streams=streams,
        failures=len(faults),
        failure=faults[0].message if faults else "",
        total_rate=sum(sample.completion_tokens for sample in samples) / wall,
        decode_rate=_decode_rate(samples) if not faults else 0.0,
        first_token_seconds=statistics.median([s.first_token_seconds for s in samples]) if samples else 0.0,
        gap_p50_seconds=_quantile(gaps, 0.5),
        gap_p99_seconds=_quantile(gaps, 0.99),
    )


def _messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]


def _decode_rate(samples: list[Sample]) -> float:
    """Tokens a second in the window in which every stream had begun and none had ended."""
    begin = max((sample.arrivals[0] for sample in samples), default=0.0)
    end = min((sample.arrivals[-1] for sample in samples), default=0.0)
    if end <= begin:
        return 0.0
    tokens = 0.0
    for sample in samples:
        within = sum(begin < arrival <= end for arrival in sample.arrivals)
        tokens += within * sample.completion_tokens / len(sample.arrivals)
    return tokens / (end - begin)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
