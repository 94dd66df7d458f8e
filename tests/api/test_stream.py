"""The streaming contract, byte by byte."""

import asyncio
import json

import httpx2
import pytest

import localllm.api.answers
import localllm.api.sse

pytestmark = pytest.mark.anyio


def chat(text: str = "hi there", **fields: object) -> dict[str, object]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], "stream": True, **fields}


async def lines(
    http: httpx2.AsyncClient, url: str, body: dict[str, object], path: str = "chat/completions"
) -> list[str]:
    async with http.stream("POST", f"{url}/{path}", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        text = (await response.aread()).decode()
    assert text.endswith("\n\n")
    return text.split("\n\n")[:-1]


def chunks(found: list[str]) -> list[dict[str, object]]:
    assert all(line.startswith("data: ") for line in found)
    return [json.loads(line.removeprefix("data: ")) for line in found if line != "data: [DONE]"]


async def test_the_whole_shape(http: httpx2.AsyncClient, url: str) -> None:
    found = await lines(http, url, chat("hi"))
    assert found[-1] == "data: [DONE]"
    first, *middle, last = chunks(found)
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    for chunk in middle:
        choice = chunk["choices"][0]  # type: ignore[index]
        assert set(choice["delta"]) == {"content"}
        assert choice["finish_reason"] is None
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    for chunk in (first, *middle, last):
        assert {k: chunk[k] for k in ("id", "created", "model")} == {k: first[k] for k in ("id", "created", "model")}
        assert chunk["object"] == "chat.completion.chunk"
        assert "usage" not in chunk


async def test_usage_comes_last_and_only_when_asked_for(http: httpx2.AsyncClient, url: str) -> None:
    *others, last = chunks(await lines(http, url, chat("~tilde", stream_options={"include_usage": True})))
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 6,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


@pytest.mark.slow
async def test_no_character_is_split(http: httpx2.AsyncClient, url: str) -> None:
    text = "日本語 🎉 é" * 3
    found = chunks(await lines(http, url, {**chat(text), "model": "echo:50"}))
    parts = [chunk["choices"][0]["delta"].get("content", "") for chunk in found]  # type: ignore[index]
    assert "".join(parts) == text
    assert len([part for part in parts if part]) > 1


async def test_text_completions(http: httpx2.AsyncClient, url: str) -> None:
    body = {"prompt": "abc", "stream": True, "max_tokens": 9, "stream_options": {"include_usage": True}}
    found = await lines(http, url, body, "completions")
    assert found[-1] == "data: [DONE]"
    *texts, end, usage = chunks(found)
    assert "".join(chunk["choices"][0]["text"] for chunk in texts) == "abc"  # type: ignore[index]
    assert end["choices"][0] == {"text": "", "finish_reason": "stop", "index": 0, "logprobs": None}  # type: ignore[index]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3  # type: ignore[index]
    assert {chunk["object"] for chunk in (*texts, end, usage)} == {"text_completion"}


async def test_what_is_wrong_with_the_request_is_a_status_not_a_stream(http: httpx2.AsyncClient, url: str) -> None:
    response = await http.post(f"{url}/chat/completions", json=chat("x" * 5000))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.slow
async def test_a_silent_stream_is_kept_alive(
    http: httpx2.AsyncClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localllm.api.sse, "PING_SECONDS", 0.05)
    monkeypatch.setattr(localllm.api.answers, "PING_SECONDS", 0.05)
    await http.post(f"{url}/chat/completions", json={**chat("x"), "model": "echo:50", "stream": False})  # loads it
    tasks = [lines(http, url, {**chat("y" * 30), "model": "echo:50"}) for _ in range(9)]  # one has to wait for a slot
    found = await asyncio.gather(*tasks)
    assert all(stream[-1] == "data: [DONE]" for stream in found)
    assert any(": ping" in stream for stream in found)
