"""Choices side by side: order, ends, errors, and nothing left running."""

import asyncio
from contextlib import aclosing

import pytest

from localllm.engines.job import Delta
from localllm.errors import InvalidRequest, QueueFull, WorkerDied
from localllm.runtime.choices import Events, events_of, sampling_of, side_by_side
from localllm.types import (
    AdapterUse,
    ChatRequest,
    Event,
    Finished,
    Message,
    PromptProgress,
    Queued,
    Sampling,
    SamplingChoice,
    TextDelta,
    TextRequest,
    TokenLogprob,
    TopLogprob,
)
from tests.scripts import USAGE, Step, played
from tests.serving import running_service

pytestmark = pytest.mark.anyio


class Script:
    """An answer that plays its steps, and knows whether it was closed."""

    def __init__(self, *steps: Step) -> None:
        self._steps = steps
        self.is_closed = False

    async def play(self) -> Events:
        try:
            async with aclosing(played(self._steps)) as events:
                async for event in events:
                    yield event
        finally:
            self.is_closed = True


async def heard(*scripts: Script) -> list[Event]:
    async with aclosing(side_by_side([script.play() for script in scripts])) as events:
        return [event async for event in events]


def says(choice: int, *texts: str) -> list[Step]:
    deltas = [TextDelta(text, choice) for text in texts]
    return [PromptProgress(0, 3), *deltas, Finished("stop", USAGE, choice)]


async def test_each_choice_keeps_its_order_and_the_prompt_is_told_once() -> None:
    found = await heard(Script(Queued(1), *says(0, "a", "b")), Script(Queued(2), *says(1, "x", "y")))
    assert found[:2] == [Queued(1), PromptProgress(0, 3)]
    for choice, texts in enumerate(("ab", "xy")):
        own = [event for event in found if isinstance(event, TextDelta | Finished) and event.choice == choice]
        assert "".join(event.text for event in own if isinstance(event, TextDelta)) == texts
        assert isinstance(own[-1], Finished)
    assert sum(isinstance(event, Queued | PromptProgress) for event in found) == 2
    assert isinstance(found[-1], Finished)


async def test_a_refusal_of_any_is_heard_before_all_else() -> None:
    first, last = Script(*says(0, "a")), Script(QueueFull("come again", retry_seconds=3.0))
    stream = side_by_side([first.play(), Script(*says(1, "b")).play(), last.play()])
    with pytest.raises(QueueFull) as caught:
        await anext(stream)
    assert caught.value.retry_seconds == 3.0
    assert first.is_closed


async def test_an_error_of_one_ends_all() -> None:
    others = [Script(PromptProgress(0, 3), TextDelta("a", i), asyncio.Event()) for i in (0, 2)]
    broken = Script(PromptProgress(0, 3), TextDelta("b", 1), WorkerDied("gone"))
    with pytest.raises(WorkerDied):
        await heard(others[0], broken, others[1])
    assert all(script.is_closed for script in (*others, broken))


async def test_closing_ends_all() -> None:
    scripts = [Script(PromptProgress(0, 3), *[TextDelta("a", i)] * 9, asyncio.Event()) for i in range(3)]
    before = asyncio.all_tasks()
    stream = side_by_side([script.play() for script in scripts])
    assert await anext(stream) == PromptProgress(0, 3)
    await stream.aclose()
    assert all(script.is_closed for script in scripts)
    assert asyncio.all_tasks() == before


def test_seeds_count_up_and_go_round() -> None:
    assert [sampling_of(i, Sampling(seed=7)).seed for i in range(3)] == [7, 8, 9]
    assert sampling_of(1, Sampling(seed=2**63 - 1)).seed == 0
    assert sampling_of(3, Sampling()).seed is None


def test_joined_texts_keep_their_logprobs() -> None:
    one = TokenLogprob(b"\xe2", -0.5, (TopLogprob(b"\xe2", -0.5),))
    two = TokenLogprob(b"\x82\xac", -0.25)
    deltas = [
        Delta(job_id=1, logprobs=(one,)),
        Delta(job_id=1, text="€", logprobs=(two,)),
        Delta(job_id=1, text="!", finish="length", usage=USAGE),
    ]
    assert list(events_of(deltas, 2)) == [TextDelta("€!", 2, (one, two)), Finished("length", USAGE, 2)]
    assert list(events_of(deltas[:1], 0)) == [TextDelta("", 0, (one,))]


def test_the_wait_and_the_reading_are_told_in_their_order() -> None:
    taken = Delta(job_id=1, prompt_total=9)
    read = Delta(job_id=1, prompt_done=4, prompt_total=9)
    waits = [Delta(job_id=1, queue_position=position) for position in (3, 2)]
    assert list(events_of([taken, *waits], 0)) == [PromptProgress(0, 9), Queued(2)]
    assert list(events_of([*waits, taken, read], 0)) == [Queued(2), PromptProgress(4, 9)]
    assert list(events_of([Delta(job_id=1)], 0)) == []


async def test_choices_of_a_real_worker() -> None:
    async with running_service("echo") as service:
        request = ChatRequest(messages=(Message("user", "hello"),), choices=3, sampling=SamplingChoice(seed=5))
        async with aclosing(service.chat(request)) as events:
            found = [event async for event in events]
    texts = ["", "", ""]
    for event in found:
        if isinstance(event, TextDelta):
            texts[event.choice] += event.text
    assert texts == ["hello"] * 3
    assert sorted(event.choice for event in found if isinstance(event, Finished)) == [0, 1, 2]
    assert isinstance(found[0], PromptProgress | Queued)


async def test_what_is_wrong_with_a_request_of_several_choices_is_said_once() -> None:
    async with running_service("echo") as service:
        with pytest.raises(InvalidRequest):
            await anext(service.complete(TextRequest(prompt=(5, 99999), choices=4)))
        with pytest.raises(InvalidRequest) as caught:
            await anext(service.complete(TextRequest(prompt="x", choices=0)))
        assert caught.value.param == "n"


async def test_an_adapter_that_is_not_loaded_is_refused_by_name() -> None:
    async with running_service("echo") as service:
        with pytest.raises(InvalidRequest, match="pirate") as caught:
            await anext(service.complete(TextRequest(prompt="x", adapters=(AdapterUse("pirate"),))))
        assert caught.value.param == "lora"
