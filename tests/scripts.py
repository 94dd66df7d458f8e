"""Answers that tests write down: what one cost, and playing one step by step."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from localllm.types import Event, Usage

Step = Event | Exception | asyncio.Event

USAGE = Usage(
    prompt_tokens=3,
    cached_tokens=1,
    completion_tokens=2,
    queue_seconds=0.5,
    prefill_seconds=0.25,
    decode_seconds=0.125,
)


async def played(steps: Iterable[Step]) -> AsyncGenerator[Event, None]:
    """Yield events, raise exceptions, and wait where there is an asyncio.Event."""
    for step in steps:
        await asyncio.sleep(0)
        if isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, Exception):
            raise step
        else:
            yield step
