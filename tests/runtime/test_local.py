"""The service in this process: loading, restarting, defaults."""

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from localllm.engines.plan import LoadPlan
from localllm.errors import InvalidRequest, LoadFailed, ModelNotFound, ServiceClosed, UnsupportedField, WorkerDied
from localllm.models.local import LocalModel
from localllm.runtime.local import LocalService
from localllm.runtime.served import ServedModel
from localllm.types import (
    AdapterUse,
    ChatRequest,
    EmbedRequest,
    Event,
    Finished,
    Message,
    ModelDefaults,
    PromptProgress,
    Sampling,
    SamplingChoice,
    TextDelta,
    TextRequest,
)
from tests.serving import running_service

pytestmark = pytest.mark.anyio
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def hello(text: str = "hello", model: str | None = None, **choice: object) -> ChatRequest:
    sampling = SamplingChoice(**choice)  # type: ignore[arg-type]
    return ChatRequest(messages=(Message("user", text),), model=model, sampling=sampling)


async def events(service: LocalService, request: ChatRequest | TextRequest) -> list[Event]:
    answer = service.chat(request) if isinstance(request, ChatRequest) else service.complete(request)
    async with aclosing(answer) as stream:
        return [event async for event in stream]


def text_of(found: list[Event]) -> str:
    return "".join(event.text for event in found if isinstance(event, TextDelta))


async def pid_of(service: LocalService) -> int:
    return (await next(iter(service._models.values())).worker()).pid


async def test_an_answer_begins_with_progress_and_ends_with_finished() -> None:
    async with running_service("echo") as service:
        found = await events(service, hello())
        assert found[0] == PromptProgress(0, 6)
        assert isinstance(found[-1], Finished)
        assert found[-1].reason == "stop"
        assert text_of(found) == "hello"


@pytest.mark.slow
async def test_models_and_their_states() -> None:
    async with running_service("echo", "echo:500") as service:
        assert [info.id for info in await service.models()] == ["echo", "echo:500"]
        assert {info.state for info in await service.models()} == {"unloaded"}
        await events(service, hello(model="echo:500"))
        first, second = await service.models()
        assert (first.state, second.state) == ("unloaded", "ready")
        assert second.engine is not None
        assert second.engine.max_jobs == 8


async def test_an_unknown_model_names_the_known_ones() -> None:
    async with running_service("echo") as service:
        with pytest.raises(ModelNotFound, match="echo") as caught:
            await events(service, hello(model="gpt-9"))
        assert caught.value.param == "model"


async def test_all_who_ask_during_a_load_share_it() -> None:
    async with running_service("echo") as service:
        before = len(psutil.Process().children())
        found = await asyncio.gather(*(events(service, hello(f"n{i}")) for i in range(12)))
        assert [text_of(one) for one in found] == [f"n{i}" for i in range(12)]
        assert len(psutil.Process().children()) == before + 1


@pytest.mark.slow
async def test_one_who_leaves_during_a_load_does_not_stop_it() -> None:
    async with running_service("echo") as service:
        leaver = asyncio.create_task(events(service, hello()))
        stayer = asyncio.create_task(events(service, hello("stay")))
        await asyncio.sleep(0.02)
        leaver.cancel()
        assert text_of(await stayer) == "stay"


async def test_load_tells_its_progress(tiny_model: Path) -> None:
    async with running_service(str(tiny_model)) as service:
        told = [step.fraction async for step in service.load()]
        assert told == sorted(told)
        assert told[-1] == 1.0
        assert [step async for step in service.load()] == []


@pytest.mark.slow
async def test_a_load_that_fails_fails_each_time(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(64))
    async with running_service(str(bad)) as service:
        for _ in range(2):
            with pytest.raises(LoadFailed, match=r"bad\.gguf"):
                async for _ in service.load():
                    pass
            with pytest.raises(LoadFailed):
                await events(service, hello())
        assert (await service.models())[0].state == "unloaded"


@POSIX
async def test_the_next_request_after_a_death_brings_the_model_back() -> None:
    async with running_service("echo:50") as service:
        for _ in range(3):
            running = asyncio.create_task(events(service, hello("x" * 500)))
            pid = await pid_of(service)
            await asyncio.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(WorkerDied):
                await running
            assert text_of(await events(service, hello("back"))) == "back"
            assert await pid_of(service) != pid


async def test_closing_ends_everything() -> None:
    async with running_service("echo:20") as service:
        running = asyncio.create_task(events(service, hello("x" * 500)))
        pid = await pid_of(service)
        await asyncio.sleep(0.1)
        await service.close()
        assert not psutil.pid_exists(pid)
        with pytest.raises(ServiceClosed):
            await running
        with pytest.raises(ServiceClosed):
            await events(service, hello())


@pytest.mark.slow
async def test_closing_during_a_load_leaves_no_process() -> None:
    before = set(psutil.Process().children())
    async with running_service("echo") as service:
        load = asyncio.create_task(events(service, hello()))
        await asyncio.sleep(0.02)
    await asyncio.gather(load, return_exceptions=True)
    assert set(psutil.Process().children()) <= before


def served(defaults: ModelDefaults) -> LocalService:
    model = LocalModel(id="echo", engine="echo", path="", created=0, size_bytes=0, defaults=defaults)
    return LocalService([ServedModel(model, LoadPlan(engine="echo", path=""))])


async def test_the_models_own_defaults_hold_where_a_request_says_nothing() -> None:
    service = served(ModelDefaults(sampling=Sampling(max_tokens=3)))
    try:
        assert text_of(await events(service, hello("abcdef"))) == "abc"
        assert text_of(await events(service, hello("abcdef", max_tokens=5))) == "abcde"
        assert text_of(await events(service, TextRequest(prompt="abcdef"))) == "abc"
    finally:
        await service.close()


@pytest.mark.parametrize(
    ("own", "messages", "expected"),
    [
        (None, (Message("user", "q"),), (Message("user", "q"),)),
        ("", (Message("user", "q"),), (Message("system", ""), Message("user", "q"))),
        ("be", (Message("system", "mine"), Message("user", "q")), (Message("system", "mine"), Message("user", "q"))),
    ],
)
def test_the_models_own_system_prompt(
    own: str | None, messages: tuple[Message, ...], expected: tuple[Message, ...]
) -> None:
    from localllm.runtime.local import _with_system

    request = _with_system(ChatRequest(messages=messages), ModelDefaults(system=own))
    assert isinstance(request, ChatRequest)
    assert request.messages == expected


@pytest.mark.slow
async def test_a_sampling_field_the_engine_does_not_honour_is_refused_by_name() -> None:
    from localllm.runtime.local import _merge

    async with running_service("echo") as service:
        worker = await service._models["echo"].worker()
    import msgspec

    poor = msgspec.structs.replace(worker.info, sampling=frozenset({"max_tokens", "temperature"}))
    with pytest.raises(UnsupportedField, match="min_p") as caught:
        _merge(Sampling(), SamplingChoice(min_p=0.1, temperature=0.5), poor)
    assert caught.value.param == "min_p"


@pytest.mark.slow
async def test_measure() -> None:
    async with running_service("echo") as service:
        await events(service, hello())
        assert (await service.measure()).steps > 0


@pytest.mark.slow
async def test_adapters_come_in_one_order_and_those_without_effect_go() -> None:
    from localllm.runtime.local import _adapters

    async with running_service("echo") as service:
        worker = await service._models["echo"].worker()
    import msgspec

    info = msgspec.structs.replace(worker.info, adapters=("a", "b", "c"))
    uses = (AdapterUse("c", 0.5), AdapterUse("b", 0.0), AdapterUse("a"))
    assert _adapters(uses, info) == (AdapterUse("a"), AdapterUse("c", 0.5))
    with pytest.raises(InvalidRequest, match="there is: a, b, c") as caught:
        _adapters((AdapterUse("d"),), info)
    assert caught.value.param == "lora"
    with pytest.raises(InvalidRequest, match="twice"):
        _adapters((AdapterUse("a"), AdapterUse("a", 0.5)), info)


@pytest.mark.slow
async def test_a_model_without_embeddings_says_so(tiny_model: Path) -> None:
    async with running_service(str(tiny_model)) as service:
        with pytest.raises(InvalidRequest, match="no embeddings") as caught:
            await service.embed(EmbedRequest(inputs=("x",)))
        assert caught.value.param == "model"


@pytest.mark.slow
async def test_embeddings_of_a_real_worker() -> None:
    async with running_service("echo") as service:
        found = await service.embed(EmbedRequest(inputs=("ab", (97, 98))))
        assert len(found.vectors) == 2
        assert found.vectors[0] == found.vectors[1]
        with pytest.raises(ModelNotFound):
            await service.embed(EmbedRequest(inputs=("x",), model="gpt-9"))
