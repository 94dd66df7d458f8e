"""Answers in the making: waiting for their beginning, or collecting them whole."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import Struct
from starlette.types import Receive

from localllm.api.disconnect import ClientLeft, disconnected, unless_client_leaves
from localllm.api.sse import PING_SECONDS
from localllm.types import Event, Finished, TextDelta, TokenLogprob

Events = AsyncGenerator[Event, None]


class WholeChoice(Struct, frozen=True):
    """One choice of an answer that was not streamed."""

    text: str
    logprobs: list[TokenLogprob]
    end: Finished


async def collect(events: Events, choices: int, receive: Receive) -> list[WholeChoice]:
    """The whole answer. Raises ClientLeft when nobody waits for it any more; the job has then been cancelled."""
    return await unless_client_leaves(_collect(events, choices), receive)


async def begin(events: Events, receive: Receive) -> Events:
    """`events`, once the first of them is there: what is wrong with a request shows before the stream begins
    and can have a status. Does not wait longer than a silent stream may last. Raises ClientLeft."""
    first = asyncio.ensure_future(anext(events))
    left = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({first, left}, timeout=PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            first.result()
        elif left.done():
            raise ClientLeft
    except BaseException:
        await _abandon(first, events)
        raise
    finally:
        left.cancel()
    return _rest(first, events)


async def _rest(first: "asyncio.Future[Event]", events: Events) -> Events:
    try:
        yield await first
        async for event in events:
            yield event
    finally:
        await _abandon(first, events)


async def _abandon(first: "asyncio.Future[Event]", events: Events) -> None:
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await events.aclose()


async def _collect(events: Events, choices: int) -> list[WholeChoice]:
    texts: list[list[str]] = [[] for _ in range(choices)]
    logprobs: list[list[TokenLogprob]] = [[] for _ in range(choices)]
    ends: dict[int, Finished] = {}
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextDelta):
                texts[event.choice].append(event.text)
                logprobs[event.choice].extend(event.logprobs)
            elif isinstance(event, Finished):
                ends[event.choice] = event
    if len(ends) < choices:
        raise RuntimeError("the service ended an answer without saying so")
    return [WholeChoice("".join(texts[i]), logprobs[i], ends[i]) for i in range(choices)]
