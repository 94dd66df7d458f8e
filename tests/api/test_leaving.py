"""A client that leaves stops its job, whatever the job is doing; a stream that fails says so as data."""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator

import httpx2
import psutil
import pytest

from localllm.runtime.local import LocalService
from tests.serving import running_server, running_service

pytestmark = pytest.mark.anyio
SLOW = "echo:20"  # a step takes 50 ms, so what is not cancelled shows


@pytest.fixture
async def service() -> AsyncGenerator[LocalService, None]:
    """One answer at a time."""
    async with running_service(SLOW, jobs=1) as running:
        yield running


@pytest.fixture
async def url(service: LocalService) -> AsyncGenerator[str, None]:
    async with running_server(service) as base:
        yield base


def body(text: str, **fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], **fields}


async def place_is_free(http: httpx2.AsyncClient, url: str) -> None:
    """The one slot answers at once: without the cancel it would be busy for minutes."""
    began = time.monotonic()
    response = await http.post(f"{url}/chat/completions", json=body("ok"))
    assert response.json()["choices"][0]["message"]["content"] == "ok"
    assert time.monotonic() - began < 1.5


async def test_leaving_a_stream(http: httpx2.AsyncClient, url: str) -> None:
    async with http.stream("POST", f"{url}/chat/completions", json=body("x" * 2000, stream=True)) as response:
        async for line in response.aiter_lines():
            if '"content":"x"' in line:
                break
    await place_is_free(http, url)


@pytest.mark.slow
async def test_leaving_while_the_prompt_is_read(http: httpx2.AsyncClient, url: str) -> None:
    async with http.stream("POST", f"{url}/chat/completions", json=body("x" * 4000, stream=True)) as response:
        assert response.status_code == 200  # 63 pieces of 50 ms are still to come
    await place_is_free(http, url)


@pytest.mark.parametrize("length", [2000, 4000])
@pytest.mark.slow
async def test_leaving_a_whole_answer(http: httpx2.AsyncClient, url: str, length: int) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        await http.post(f"{url}/chat/completions", json=body("x" * length), timeout=0.6)
    await place_is_free(http, url)


@pytest.mark.slow
async def test_leaving_the_queue(http: httpx2.AsyncClient, url: str) -> None:
    first = asyncio.create_task(http.post(f"{url}/chat/completions", json=body("y" * 30)))
    await asyncio.sleep(0.2)
    others = [
        asyncio.create_task(http.post(f"{url}/chat/completions", json=body("x" * 2000, stream=stream), timeout=0.5))
        for stream in (True, False, True)
    ]
    await asyncio.gather(*others, return_exceptions=True)
    assert (await first).json()["choices"][0]["message"]["content"] == "y" * 30
    await place_is_free(http, url)


async def test_leaving_during_a_load(http: httpx2.AsyncClient, url: str) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        await http.post(f"{url}/chat/completions", json=body("x" * 2000), timeout=0.05)
    await place_is_free(http, url)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.slow
async def test_an_error_in_a_stream_is_an_event_and_the_next_request_is_answered(
    http: httpx2.AsyncClient, url: str, service: LocalService
) -> None:
    found: list[str] = []
    async with http.stream("POST", f"{url}/chat/completions", json=body("x" * 2000, stream=True)) as response:
        async for line in response.aiter_lines():
            if '"content":"x"' in line and len(found) == 1:  # after the role
                psutil.Process((await service._models[SLOW].worker()).pid).kill()
            if line:
                found.append(line)
    assert found[-1] != "data: [DONE]"
    error = json.loads(found[-1].removeprefix("data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["type"]) == ("worker_died", "server_error")
    response = await http.post(f"{url}/chat/completions", json=body("ok"))
    assert response.json()["choices"][0]["message"]["content"] == "ok"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
async def test_an_error_in_a_whole_answer_is_a_503_to_be_tried_again(
    http: httpx2.AsyncClient, url: str, service: LocalService
) -> None:
    task = asyncio.create_task(http.post(f"{url}/chat/completions", json=body("x" * 2000)))
    worker = await service._models[SLOW].worker()
    await asyncio.sleep(0.3)
    psutil.Process(worker.pid).kill()
    response = await task
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "worker_died"
    assert 1 <= int(response.headers["Retry-After"]) <= 120
