"""Several requests to one server at the same time."""

import asyncio
import statistics
import time
from collections.abc import Sequence

import httpx2
from msgspec import Struct

from localllm.bench.client import Sample, Target, ask
from localllm.errors import RemoteError

REQUEST_SECONDS = 600.0
SYSTEM = "You are a helpful assistant."  # said outright, so that every server gets the same prompt


class Request(Struct, frozen=True, kw_only=True):
    """What to ask for, and when: so many seconds after the first."""

    messages: list[dict[str, str]]
    answer_tokens: int
    delay_seconds: float = 0.0

    @classmethod
    def of(cls, prompt: str, answer_tokens: int, *, system: str = SYSTEM, delay_seconds: float = 0.0) -> "Request":
        """A prompt of one turn."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        return cls(messages=messages, answer_tokens=answer_tokens, delay_seconds=delay_seconds)


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of them. `samples` are in the order of the requests, without those that failed."""

    samples: list[Sample]
    faults: list[str]
    wall_seconds: float  # from the first request to the last answer

    @property
    def total_rate(self) -> float:
        """Answer tokens a second, reading the prompts included."""
        return sum(sample.completion_tokens for sample in self.samples) / self.wall_seconds

    @property
    def first_token_seconds(self) -> float:
        """Median of the streams; 0 where all failed."""
        return statistics.median([s.first_token_seconds for s in self.samples]) if self.samples else 0.0


def connection(streams: int) -> httpx2.AsyncClient:
    """A client for so many streams at once."""
    limits = httpx2.Limits(max_connections=streams)
    return httpx2.AsyncClient(timeout=REQUEST_SECONDS, limits=limits, trust_env=False)


async def together(target: Target, requests: Sequence[Request]) -> Outcome:
    """Send them all; a request that fails stands in the outcome and does not end the others."""
    async with connection(len(requests)) as client:
        start = time.perf_counter()
        outcomes = await asyncio.gather(
            *(_send(client, target, request) for request in requests), return_exceptions=True
        )
        wall = time.perf_counter() - start
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, RemoteError):
            raise outcome
    return Outcome(
        samples=[outcome for outcome in outcomes if isinstance(outcome, Sample)],
        faults=[outcome.message for outcome in outcomes if isinstance(outcome, RemoteError)],
        wall_seconds=wall,
    )


async def _send(client: httpx2.AsyncClient, target: Target, request: Request) -> Sample:
    if request.delay_seconds:
        await asyncio.sleep(request.delay_seconds)
    return await ask(client, target, request.messages, request.answer_tokens)
