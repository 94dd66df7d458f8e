"""Several choices of one prompt: indices, ends, and one bill."""

import json
from typing import Any

import httpx2
import pytest

from localllm.types import Finished, PromptProgress, TextDelta
from tests.api.scripted import QUESTION, openai_client, scripted
from tests.scripts import Step
from tests.tui.fakes import usage

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "hi"}]


def mixed() -> list[Step]:
    """Two choices whose parts come in turns; the second ends first."""
    return [
        PromptProgress(0, 10),
        TextDelta("a", 0),
        TextDelta("x", 1),
        TextDelta("y", 1),
        Finished("length", usage(prompt=10, completion=3), 1),
        TextDelta("b", 0),
        Finished("stop", usage(prompt=10, completion=4), 0),
    ]


async def chunks(http: httpx2.AsyncClient, url: str, body: dict[str, object]) -> list[dict[str, Any]]:
    async with http.stream("POST", url, json=body) as response:
        text = (await response.aread()).decode()
    *parts, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(part.removeprefix("data: ")) for part in parts if part.startswith("data: ")]


async def test_whole_choices_of_a_real_worker(http: httpx2.AsyncClient, url: str) -> None:
    body = (await http.post(f"{url}/chat/completions", json={"messages": MESSAGES, "n": 3})).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert [choice["message"]["content"] for choice in body["choices"]] == ["hi"] * 3
    assert body["usage"]["prompt_tokens"] == 3
    assert body["usage"]["completion_tokens"] == 6
    assert body["usage"]["total_tokens"] == 9
    body = (await http.post(f"{url}/completions", json={"prompt": "hello", "n": 2, "best_of": 1})).json()
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [(0, "hello"), (1, "hello")]


async def test_streamed_choices_of_a_real_worker(http: httpx2.AsyncClient, url: str) -> None:
    body: dict[str, object] = {"messages": MESSAGES, "n": 4, "stream": True, "stream_options": {"include_usage": True}}
    *found, bill = await chunks(http, f"{url}/chat/completions", body)
    texts, roles, ends = [""] * 4, [0] * 4, [0] * 4
    for chunk in found:
        [choice] = chunk["choices"]
        assert not ends[choice["index"]]
        texts[choice["index"]] += choice["delta"].get("content", "")
        roles[choice["index"]] += "role" in choice["delta"]
        ends[choice["index"]] += choice["finish_reason"] == "stop"
    assert (texts, roles, ends) == (["hi"] * 4, [1] * 4, [1] * 4)
    assert bill["choices"] == []
    assert bill["usage"]["completion_tokens"] == 8


async def test_parts_go_to_their_choice(http: httpx2.AsyncClient) -> None:
    async with scripted(mixed()) as (service, url):
        whole = (await http.post(f"{url}/chat/completions", json={"messages": QUESTION, "n": 2})).json()
        found = await chunks(
            http,
            f"{url}/completions",
            {"prompt": "p", "n": 2, "stream": True, "stream_options": {"include_usage": True}},
        )
    assert [(choice["message"]["content"], choice["finish_reason"]) for choice in whole["choices"]] == [
        ("ab", "stop"),
        ("xy", "length"),
    ]
    assert whole["usage"]["completion_tokens"] == 7
    assert whole["usage"]["prompt_tokens"] == 10
    told = [(choice["index"], choice["text"], choice["finish_reason"]) for part in found for choice in part["choices"]]
    assert told == [(0, "a", None), (1, "x", None), (1, "y", None), (1, "", "length"), (0, "b", None), (0, "", "stop")]
    assert found[-1]["usage"]["completion_tokens"] == 7
    assert (service.requests[0].choices, service.texts[0].choices) == (2, 2)


async def test_the_openai_package_reads_them() -> None:
    async with scripted(mixed()) as (_, url), openai_client(url) as client:
        answer = await client.chat.completions.create(model="m", messages=QUESTION, n=2)
        assert [choice.message.content for choice in answer.choices] == ["ab", "xy"]
        stream = await client.chat.completions.create(model="m", messages=QUESTION, n=2, stream=True)
        texts, reasons = ["", ""], ["", ""]
        async for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                reasons[choice.index] += choice.finish_reason or ""
        assert (texts, reasons) == (["ab", "xy"], ["stop", "length"])


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("n", [0, 5, -1, 1.5, "2"])
async def test_other_numbers_are_refused(http: httpx2.AsyncClient, url: str, path: str, n: object) -> None:
    body = {"messages": MESSAGES} if path.startswith("chat") else {"prompt": "x"}
    response = await http.post(f"{url}/{path}", json={**body, "n": n})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "n"
