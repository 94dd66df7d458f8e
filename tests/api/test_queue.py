"""Who has to wait is told where in the queue; who cannot, when to come again."""

import asyncio

import httpx2
import openai
import pytest

from localllm.config import Settings
from localllm.errors import InvalidRequest, LocalLLMError, QueueFull, WorkerDied
from localllm.types import PromptProgress, Queued, TextDelta
from tests.api.scripted import QUESTION, openai_client, scripted
from tests.serving import running_server, running_service
from tests.tui.fakes import says

pytestmark = pytest.mark.anyio

BODIES = [("chat/completions", {"messages": QUESTION}), ("completions", {"prompt": "x"})]


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("seconds", "header"), [(12.2, "13"), (0.1, "1"), (0.0, "1"), (None, "1"), (7.0, "7")])
async def test_a_full_queue_is_a_429_that_says_when(
    http: httpx2.AsyncClient, path: str, body: dict[str, object], stream: bool, seconds: float | None, header: str
) -> None:
    async with scripted([QueueFull("too many wait; come again", retry_seconds=seconds)]) as (_, url):
        response = await http.post(f"{url}/{path}", json={**body, "stream": stream})
    assert response.status_code == 429
    assert response.headers["Retry-After"] == header
    error = response.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("queue_full", "rate_limit_error", None)
    assert error["message"] == "too many wait; come again"


async def test_the_openai_package_raises_it_as_its_own() -> None:
    async with scripted([QueueFull("come again", retry_seconds=2)]) as (_, url), openai_client(url) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=QUESTION)
    assert caught.value.code == "queue_full"


@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_a_stream_tells_each_place_in_a_comment(
    http: httpx2.AsyncClient, path: str, body: dict[str, object]
) -> None:
    script = [Queued(3), Queued(1), *says("hello")]
    async with scripted(script) as (_, url):
        found = (await http.post(f"{url}/{path}", json={**body, "stream": True})).text.split("\n\n")
    comments = [i for i, part in enumerate(found) if part.startswith(":")]
    assert [found[i] for i in comments] == [": queue position 3", ": queue position 1"]
    assert max(comments) < next(i for i, part in enumerate(found) if "hello" in part)
    assert found[-2:] == ["data: [DONE]", ""]


async def test_a_place_in_the_queue_begins_the_stream(http: httpx2.AsyncClient) -> None:
    gate = asyncio.Event()
    body = {"messages": QUESTION, "stream": True}
    async with (
        scripted([Queued(2), gate, *says("late")]) as (_, url),
        http.stream("POST", f"{url}/chat/completions", json=body) as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        while await anext(lines) != ": queue position 2":
            pass
        gate.set()
        assert [line async for line in lines if line][-1] == "data: [DONE]"


async def test_a_whole_answer_passes_over_the_wait(http: httpx2.AsyncClient) -> None:
    async with scripted([Queued(2), *says("late")]) as (_, url):
        body = (await http.post(f"{url}/chat/completions", json={"messages": QUESTION})).json()
    assert body["choices"][0]["message"]["content"] == "late"


async def test_the_openai_package_passes_over_the_comments() -> None:
    async with scripted([Queued(2), *says("late")]) as (_, url), openai_client(url) as client:
        stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "late"


@pytest.mark.parametrize("error", [InvalidRequest("no", param="lora"), WorkerDied("gone")])
async def test_an_error_after_the_wait_is_an_event(http: httpx2.AsyncClient, error: LocalLLMError) -> None:
    async with scripted([Queued(2), PromptProgress(0, 1), TextDelta("so"), error]) as (service, url):
        text = (await http.post(f"{url}/chat/completions", json={"messages": QUESTION, "stream": True})).text
    assert f'"code":"{error.code}"' in text.split("\n\n")[-2]
    assert "[DONE]" not in text
    assert service.closed_chats == 1


@pytest.mark.slow
async def test_a_real_worker_lets_so_many_wait_and_no_more(http: httpx2.AsyncClient) -> None:
    async def stream(url: str) -> str:
        body = {"messages": [{"role": "user", "content": "x" * 30}], "stream": True}
        response = await http.post(f"{url}/chat/completions", json=body)
        return response.text if response.status_code == 200 else str(response.status_code)

    settings = Settings(max_queue=2)
    async with running_service("echo:50", settings=settings, jobs=1) as service, running_server(service) as url:
        assert "[DONE]" in await stream(url)  # loads it
        found = await asyncio.gather(*(stream(url) for _ in range(5)))
    assert found.count("429") == 2
    assert sum(": queue position 2" in text for text in found) == 1
    assert sum(": queue position 1" in text for text in found) == 2
    assert sum(text.endswith("data: [DONE]\n\n") for text in found) == 3
