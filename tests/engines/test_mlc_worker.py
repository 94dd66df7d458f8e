"""A model of MLC in a worker, on the fake: the whole way of a chat, and ends of the process."""

from contextlib import aclosing
from pathlib import Path

import pytest

from localllm.engines.plan import LoadPlan
from localllm.errors import EngineUnavailable, LoadFailed, TemplateError, UnsupportedField
from localllm.types import ChatRequest, Message, Sampling, TextRequest
from localllm.worker.handle import WorkerHandle
from tests.engines.mlc_fake.install import fake_mlc  # noqa: F401  # a fixture
from tests.engines.mlc_fake.model import write_model

pytest.importorskip("tokenizers")
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_mlc")]


def plan_of(folder: Path, **options: str) -> LoadPlan:
    return LoadPlan(engine="mlc", path=str(folder), options={"model_lib": "mock://fake", **options})


async def told(handle: WorkerHandle, request: ChatRequest | TextRequest, sampling: Sampling) -> str:
    texts = []
    async with aclosing(handle.run(request, sampling)) as groups:
        async for deltas in groups:
            texts += [delta.text for delta in deltas]
    return "".join(texts)


async def test_a_chat_in_a_worker(tmp_path: Path) -> None:
    progress: list[float] = []
    handle = await WorkerHandle.start(plan_of(write_model(tmp_path / "model")), progress.append)
    try:
        assert (handle.info.engine, handle.info.max_jobs) == ("mlc", 4)
        request = ChatRequest(messages=(Message("user", "Hello"),))
        greedy = Sampling(temperature=0.0, max_tokens=20)
        first = await told(handle, request, greedy)
        assert first
        assert await told(handle, request, greedy) == first
        with pytest.raises(UnsupportedField, match="top_k"):
            await told(handle, request, Sampling(temperature=0.0, top_k=5))
    finally:
        await handle.close()
    assert progress == [0.05, 0.6, 1.0]


async def test_a_load_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MLC_FAIL", "compile")
    with pytest.raises(LoadFailed, match="Unknown model type: this one"):
        await WorkerHandle.start(plan_of(write_model(tmp_path / "model"), model_lib=""), lambda _: None)
    monkeypatch.setenv("FAKE_MLC_BROKEN", "1")
    with pytest.raises(EngineUnavailable, match=r"libcudart.so.12"):
        await WorkerHandle.start(plan_of(tmp_path / "model"), lambda _: None)


async def test_a_template_that_refuses(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", template="{{ raise_exception('only one turn') }}")
    handle = await WorkerHandle.start(plan_of(folder), lambda _: None)
    try:
        with pytest.raises(TemplateError, match="only one turn"):
            await told(handle, ChatRequest(messages=(Message("user", "Hello"),)), Sampling())
    finally:
        await handle.close()
