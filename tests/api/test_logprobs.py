"""Log probabilities in the shapes of both endpoints, streamed and whole."""

import json
import math
from typing import Any

import httpx2
import pytest

from localllm.types import Finished, PromptProgress, TextDelta, TokenLogprob, TopLogprob
from tests.api.scripted import QUESTION, openai_client, scripted
from tests.scripts import Step
from tests.tui.fakes import usage

pytestmark = pytest.mark.anyio

EURO = "€".encode()
HALF = TokenLogprob(EURO[:1], -0.5, (TopLogprob(EURO[:1], -0.5), TopLogprob(b"$", -1.5)))
REST = TokenLogprob(EURO[1:], -0.25, (TopLogprob(EURO[1:], -0.25),))
WORD = TokenLogprob(b" is", -1.0, (TopLogprob(b" was", -0.75), TopLogprob(b" is", -1.0)))
RARE = TokenLogprob(b"!", -math.inf)


def script() -> list[Step]:
    """€ comes in two tokens, the first of which is no character yet."""
    return [
        PromptProgress(0, 10),
        TextDelta("", 0, (HALF,)),
        TextDelta("€ is", 0, (REST, WORD)),
        TextDelta("!", 0, (RARE,)),
        Finished("stop", usage()),
    ]


CONTENT = [
    {
        "token": "\ufffd",
        "logprob": -0.5,
        "bytes": [0xE2],
        "top_logprobs": [
            {"token": "\ufffd", "logprob": -0.5, "bytes": [0xE2]},
            {"token": "$", "logprob": -1.5, "bytes": [0x24]},
        ],
    },
    {
        "token": "\ufffd\ufffd",
        "logprob": -0.25,
        "bytes": [0x82, 0xAC],
        "top_logprobs": [{"token": "\ufffd\ufffd", "logprob": -0.25, "bytes": [0x82, 0xAC]}],
    },
    {
        "token": " is",
        "logprob": -1.0,
        "bytes": [0x20, 0x69, 0x73],
        "top_logprobs": [
            {"token": " was", "logprob": -0.75, "bytes": [0x20, 0x77, 0x61, 0x73]},
            {"token": " is", "logprob": -1.0, "bytes": [0x20, 0x69, 0x73]},
        ],
    },
    {"token": "!", "logprob": -9999.0, "bytes": [0x21], "top_logprobs": []},
]


def parts(text: str) -> list[dict[str, Any]]:
    return [json.loads(part[6:])["choices"][0] for part in text.split("\n\n") if part.startswith("data: {")]


async def test_a_chat(http: httpx2.AsyncClient) -> None:
    body = {"messages": QUESTION, "logprobs": True, "top_logprobs": 2}
    async with scripted(script()) as (service, url):
        whole = (await http.post(f"{url}/chat/completions", json=body)).json()["choices"][0]
        streamed = parts((await http.post(f"{url}/chat/completions", json={**body, "stream": True})).text)
        plain = (
            await http.post(f"{url}/chat/completions", json={**body, "logprobs": True, "top_logprobs": None})
        ).json()
    assert whole["logprobs"] == {"content": CONTENT, "refusal": None}
    told = [(part["delta"].get("content"), part["logprobs"]) for part in streamed]
    assert told == [
        ("", None),
        ("", {"content": CONTENT[:1], "refusal": None}),
        ("€ is", {"content": CONTENT[1:3], "refusal": None}),
        ("!", {"content": CONTENT[3:], "refusal": None}),
        (None, None),
    ]
    assert plain["choices"][0]["logprobs"] is not None
    assert [request.sampling.logprobs for request in service.requests] == [2, 2, 0]


async def test_a_chat_that_does_not_ask_gets_none(http: httpx2.AsyncClient) -> None:
    async with scripted([PromptProgress(0, 1), TextDelta("a"), Finished("stop", usage())]) as (service, url):
        whole = (await http.post(f"{url}/chat/completions", json={"messages": QUESTION, "logprobs": False})).json()
    assert whole["choices"][0]["logprobs"] is None
    assert "logprobs" not in service.requests[0].sampling.chosen()


async def test_a_text(http: httpx2.AsyncClient) -> None:
    body = {"prompt": "p", "logprobs": 2}
    async with scripted(script()) as (service, url):
        whole = (await http.post(f"{url}/completions", json=body)).json()["choices"][0]
        streamed = parts((await http.post(f"{url}/completions", json={**body, "stream": True})).text)
        plain = (await http.post(f"{url}/completions", json={"prompt": "p"})).json()["choices"][0]
    expected = {
        "tokens": ["\ufffd", "\ufffd\ufffd", " is", "!"],
        "token_logprobs": [-0.5, -0.25, -1.0, -9999.0],
        "top_logprobs": [
            {"\ufffd": -0.5, "$": -1.5},
            {"\ufffd\ufffd": -0.25},
            {" is": -1.0, " was": -0.75},
            {"!": -9999.0},
        ],
        "text_offset": [0, 0, 1, 4],
    }
    assert whole["logprobs"] == expected
    joined: dict[str, list[object]] = {name: [] for name in expected}
    for part in streamed:
        for name, values in (part["logprobs"] or {}).items():
            joined[name] += values
    assert joined == expected
    assert "".join(part["text"] for part in streamed) == whole["text"] == "€ is!"
    assert plain["logprobs"] is None
    assert service.texts[0].sampling.logprobs == 2


async def test_the_openai_package_reads_them() -> None:
    async with scripted(script()) as (_, url), openai_client(url) as client:
        answer = await client.chat.completions.create(
            model="m",
            messages=QUESTION,
            logprobs=True,
            top_logprobs=2,
        )
        assert answer.choices[0].logprobs is not None
        assert answer.choices[0].logprobs.content is not None
        tokens = answer.choices[0].logprobs.content
        assert b"".join(bytes(token.bytes or []) for token in tokens).decode() == "€ is!"
        assert tokens[2].top_logprobs[0].token == " was"
        async with client.chat.completions.stream(
            model="m",
            messages=QUESTION,
            logprobs=True,
            top_logprobs=2,
        ) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].logprobs is not None
        assert final.choices[0].logprobs.content == tokens
        text = await client.completions.create(model="m", prompt="p", logprobs=2)
        assert text.choices[0].logprobs is not None
        assert text.choices[0].logprobs.text_offset == [0, 0, 1, 4]


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("chat/completions", {"top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ("chat/completions", {"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        ("chat/completions", {"logprobs": 2}, "logprobs"),
        ("completions", {"logprobs": True}, "logprobs"),
        ("completions", {"logprobs": 21}, "logprobs"),
        ("completions", {"top_logprobs": 2}, "top_logprobs"),
    ],
)
async def test_what_is_refused(
    http: httpx2.AsyncClient, url: str, path: str, fields: dict[str, object], param: str
) -> None:
    body = {"messages": QUESTION} if path.startswith("chat") else {"prompt": "x"}
    response = await http.post(f"{url}/{path}", json={**body, **fields})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
