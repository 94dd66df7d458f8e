"""Streams on servers that are empty, full, or have just been full."""

import random

from localllm.bench.client import Target
from localllm.bench.prompts import task
from localllm.bench.rates import decode_rate
from localllm.bench.scenario import Reading, reading_of
from localllm.bench.together import Request, together

PROMPT_TOKENS = 32
ANSWER_TOKENS = 96
QUICK_TOKENS = 32
SLOTS = 16
LONG = (0, 4, 8, 13)  # of the requests in order of arrival; scattered, as chance would have it
STAGGER_SECONDS = 0.02  # between arrivals, so that their order is the same everywhere


async def single(target: Target, source: random.Random, quick: bool) -> Reading:
    """One answer of 96 tokens on a server of 16 slots that has nothing else to do."""
    return await _level(target, source, 1, quick)


async def sixteen(target: Target, source: random.Random, quick: bool) -> Reading:
    """16 answers of 96 tokens at once, each to a prompt of its own."""
    return await _level(target, source, SLOTS, quick)


async def after_burst(target: Target, source: random.Random, quick: bool) -> Reading:
    """4 new answers of 96 tokens, right after 16 short ones of several lengths that came at once have ended; only
    the 4 are measured."""
    burst = [Request.of(task(source, PROMPT_TOKENS), source.randrange(8, 40)) for _ in range(SLOTS)]
    ended = await together(target, burst)
    reading = await _level(target, source, 4, quick)
    return Reading(values=reading.values, faults=ended.faults + reading.faults)


async def remains(target: Target, source: random.Random, quick: bool) -> Reading:
    """The decode rate of the 4 long answers of 16, the 1st, 5th, 9th and 14th to arrive, once the other 12 have
    ended."""
    short, long = (8, 72) if quick else (24, 24 + 2 * ANSWER_TOKENS)
    outcome = await together(
        target,
        [
            Request.of(task(source, PROMPT_TOKENS), long if i in LONG else short, delay_seconds=i * STAGGER_SECONDS)
            for i in range(SLOTS)
        ],
    )
    if outcome.faults:
        return reading_of(outcome, 0.0)
    staying = [outcome.samples[i] for i in LONG]
    others_ended = max(sample.arrivals[-1] for i, sample in enumerate(outcome.samples) if i not in LONG)
    return reading_of(outcome, decode_rate(staying, after=others_ended))


async def _level(target: Target, source: random.Random, streams: int, quick: bool) -> Reading:
    tokens = QUICK_TOKENS if quick else ANSWER_TOKENS
    outcome = await together(target, [Request.of(task(source, PROMPT_TOKENS), tokens) for _ in range(streams)])
    return reading_of(outcome, 0.0 if outcome.faults else decode_rate(outcome.samples))
