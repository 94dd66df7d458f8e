"""The choices of one answer: each is a job of its own, and their events become one stream."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

import msgspec

from localllm.engines.job import Delta
from localllm.types import Event, Finished, PromptProgress, Queued, Sampling, TextDelta

SEEDS = 2**63  # how many there are; they go round

Events = AsyncGenerator[Event, None]


def sampling_of(choice: int, sampling: Sampling) -> Sampling:
    """How the choice of this number is drawn: its seed is that many above the given one."""
    if sampling.seed is None or choice == 0:
        return sampling
    return msgspec.structs.replace(sampling, seed=(sampling.seed + choice) % SEEDS)


async def choice_events(groups: AsyncGenerator[list[Delta], None], choice: int) -> Events:
    """What the deltas of one choice tell."""
    async with aclosing(groups):
        async for deltas in groups:
            for event in events_of(deltas, choice):
                yield event


def events_of(deltas: Sequence[Delta], choice: int) -> Iterable[Event]:
    """The events of deltas that came together; their text is joined."""
    news: dict[str, Event] = {}  # the last of each kind, in the order in which they came
    for delta in deltas:
        if delta.prompt_total:
            news.pop("read", None)
            news["read"] = PromptProgress(delta.prompt_done, delta.prompt_total)
        if delta.queue_position:
            news.pop("wait", None)
            news["wait"] = Queued(delta.queue_position)
    yield from news.values()
    text = "".join(delta.text for delta in deltas)
    logprobs = tuple(logprob for delta in deltas for logprob in delta.logprobs)
    if text or logprobs:
        yield TextDelta(text, choice, logprobs)
    last = deltas[-1]
    if last.finish is not None and last.usage is not None:
        yield Finished(last.finish, last.usage, choice)


async def side_by_side(answers: Sequence[Events]) -> Events:
    """The events of several answers as they come; of the prompt only the first answer tells.

    Nothing comes before all were taken, so that a refusal of one is the first thing heard. An error of one ends all,
    and so does closing.
    """
    queue: asyncio.Queue[_Heard] = asyncio.Queue(1)  # whoever does not take leaves text where it can be joined
    tasks = [asyncio.create_task(_listen(answer, i, queue)) for i, answer in enumerate(answers)]
    try:
        held: list[Event] = []
        silent, running = set(range(len(answers))), len(answers)
        while running:
            heard = await queue.get()
            silent.discard(heard.choice)
            if heard.fault is not None:
                raise heard.fault
            if heard.event is None:
                running -= 1
            elif heard.choice == 0 or not isinstance(heard.event, Queued | PromptProgress):
                held.append(heard.event)
            while held and not silent:
                yield held.pop(0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Heard(msgspec.Struct, frozen=True):
    """An event of a choice; None is its end, with the error that ended it, if one did."""

    choice: int
    event: Event | None
    fault: Exception | None = None


async def _listen(answer: Events, choice: int, queue: "asyncio.Queue[_Heard]") -> None:
    fault: Exception | None = None
    try:
        async with aclosing(answer):
            async for event in answer:
                await queue.put(_Heard(choice, event))
    except Exception as error:  # raised again by whoever takes it
        fault = error
    await queue.put(_Heard(choice, None, fault))
