"""Long prompts: shared by several, remembered over a restart, or arriving while others stream."""

import asyncio
import random

from localllm.bench.client import Recording, Target, ask, record
from localllm.bench.prompts import filler, task
from localllm.bench.rates import decode_rate, gaps_within, quantile
from localllm.bench.scenario import Reading, reading_of
from localllm.bench.together import Request, connection, together
from localllm.errors import RemoteError

STREAMS = 16
SETTLED_DELTAS = 4  # of every stream, before the long prompt arrives
POLL_SECONDS = 0.01
_QUESTIONS = ("What is the number?", "Who is cooking?", "Which letter is lost?", "Name a city.")


async def shared_prefix(target: Target, source: random.Random, quick: bool) -> Reading:
    """8 answers of 32 tokens at once. The prompts begin with the same 600 tokens, never seen before, and end with
    a short question of each one's own."""
    prefix = filler(source, 60 if quick else 600)
    questions = [f"{source.choice(_QUESTIONS)} ({number})" for number in range(8)]
    outcome = await together(target, [Request.of(text, 8 if quick else 32, system=prefix) for text in questions])
    return reading_of(outcome, 0.0 if outcome.faults else decode_rate(outcome.samples))


async def first_token(target: Target, source: random.Random, quick: bool) -> Reading:
    """The time to the first token of a prompt of 1000 tokens: on a server that never saw it, and again after that
    server was stopped and started anew."""
    outcome = await together(target, [Request.of(filler(source, 100 if quick else 1000), 2)])
    return reading_of(outcome, 0.0)


async def long_arrival(target: Target, source: random.Random, quick: bool) -> Reading:
    """16 answers stream when a prompt of 4000 tokens arrives: the pauses in them until it has its first token."""
    most, length = (200, 300) if quick else (3000, 4000)
    prompts = [Request.of(task(source, 32), most).messages for _ in range(STREAMS)]
    long = Request.of(filler(source, length), 2).messages
    heard = [Recording() for _ in prompts]
    async with connection(STREAMS + 1) as client:
        streams = [
            asyncio.create_task(record(client, target, prompt, most, into))
            for prompt, into in zip(prompts, heard, strict=True)
        ]
        try:
            await _settled(streams, heard)
            arrived = await ask(client, target, long, 2)
        except RemoteError as error:
            return Reading(values={}, faults=[error.message])
        finally:
            for stream in streams:
                stream.cancel()
            ended = await asyncio.gather(*streams, return_exceptions=True)
    begin, end = arrived.start, arrived.arrivals[0]
    gaps = [gap for recording in heard for gap in gaps_within(recording.arrivals, begin, end)]
    return Reading(
        values={
            "gap_p50_seconds": quantile(gaps, 0.5),
            "gap_p99_seconds": quantile(gaps, 0.99),
            "gap_max_seconds": max(gaps, default=0.0),
            "first_token_seconds": arrived.first_token_seconds,
            "meanwhile_rate": len(gaps) / (end - begin),
        },
        faults=[error.message for error in ended if isinstance(error, RemoteError)],
    )


async def _settled(streams: list[asyncio.Task[None]], heard: list[Recording]) -> None:
    """Wait until every stream has begun. Raises RemoteError when one has failed, or ended before the last began."""
    while any(len(recording.arrivals) < SETTLED_DELTAS for recording in heard):
        for stream in streams:
            if stream.done():
                stream.result()
                raise RemoteError("a stream ended before all had begun")
        await asyncio.sleep(POLL_SECONDS)
