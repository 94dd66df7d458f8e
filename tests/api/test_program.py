"""The HTTP server over a program of ExecuTorch in its worker: the same answers to the same questions.

The model's weights are random and its tokens are bytes, so its words mean nothing; what must hold of them does.
"""

import asyncio
import json
import math
import os
import re
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import httpx2
import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from localllm.engines.executorch.runner import TILE_TOKENS
from localllm.runtime.local import LocalService
from localllm.types import Sampling
from tests.api.scripted import openai_client
from tests.exports import CONTEXT, PROGRAM, skip_without_executorch, tiny_program  # noqa: F401  # a fixture
from tests.processes import serving
from tests.serving import running_server, running_service
from tests.tiny import SPECIAL

skip_without_executorch()

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]  # the first may have to export it

MODEL = "tiny"
SLOTS = 4
LETTER_A = len(SPECIAL) + ord("A")
LONG = "The river carried small boats down to the sea. " * 8  # more tokens than a program takes at once
GREEDY: dict[str, object] = {"temperature": 0, "ignore_eos": True, "max_tokens": 24}
DRAWN: dict[str, object] = {"temperature": 1, "seed": 7, "ignore_eos": True, "max_tokens": 24}


@pytest.fixture(scope="module")
async def service(tiny_program: Path) -> AsyncGenerator[LocalService, None]:  # noqa: F811
    """With a program for each of SLOTS answers at once."""
    async with running_service(str(tiny_program / PROGRAM), jobs=SLOTS) as running:
        yield running


@pytest.fixture(scope="module")
async def url(service: LocalService) -> AsyncGenerator[str, None]:
    async with running_server(service) as base:
        yield base


@pytest.fixture
async def client(url: str) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with openai_client(url) as made:
        yield made


def asking(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


async def chat(client: openai.AsyncOpenAI, fields: Mapping[str, object], text: str = "hello") -> ChatCompletion:
    return await client.chat.completions.create(model=MODEL, messages=asking(text), extra_body=dict(fields))


async def tokens(client: openai.AsyncOpenAI, fields: Mapping[str, object], text: str = "hello") -> list[bytes]:
    """What was answered, token by token: most of it is no text."""
    answer = await chat(client, {**fields, "logprobs": True}, text)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    return [bytes(token.bytes or []) for token in logprobs.content]


async def test_it_runs_on_the_engine_that_it_is_for(client: openai.AsyncOpenAI, service: LocalService) -> None:
    assert [model.id async for model in client.models.list()] == [MODEL]
    await chat(client, {"max_tokens": 1})
    [info] = await service.models()
    assert info.engine is not None
    assert (info.engine.engine, info.engine.context_tokens, info.engine.max_jobs) == ("executorch", CONTEXT, SLOTS)
    assert info.engine.sampling == set(Sampling.__struct_fields__)


@pytest.mark.parametrize("text", ["hello", LONG])
async def test_a_stream_says_what_a_whole_answer_says(client: openai.AsyncOpenAI, text: str) -> None:
    whole = await chat(client, GREEDY, text)
    stream = await client.chat.completions.create(
        model=MODEL, messages=asking(text), stream=True, stream_options={"include_usage": True}, extra_body=GREEDY
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == (
        whole.choices[0].message.content
    )
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == GREEDY["max_tokens"]
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "length"


async def test_a_text_is_continued(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model=MODEL, prompt="Once", max_tokens=8, extra_body={"ignore_eos": True})
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 8)
    ids = [len(SPECIAL) + byte for byte in b"Once"]
    texts = {
        (await client.completions.create(model=MODEL, prompt=prompt, max_tokens=8, temperature=0)).choices[0].text
        for prompt in ("Once", ids)
    }
    assert len(texts) == 1


FIELDS: list[tuple[dict[str, object], dict[str, object]]] = [  # a field, and what it needs to act at all
    ({"max_tokens": 3}, {}),
    ({"temperature": 0.2}, {}),
    ({"top_k": 2}, {}),
    ({"top_p": 0.1}, {}),
    ({"min_p": 0.9}, {}),
    ({"typical_p": 0.1}, {}),
    ({"top_n_sigma": 0.1}, {}),
    ({"xtc_probability": 1.0}, {"xtc_threshold": 0.001}),
    ({"xtc_threshold": 0.5}, {"xtc_probability": 1.0}),
    ({"dynatemp_range": 1.0}, {}),
    ({"dynatemp_exponent": 4.0}, {"dynatemp_range": 1.0}),
    ({"mirostat": 2}, {}),
    ({"mirostat_tau": 0.5}, {"mirostat": 2}),
    ({"mirostat_eta": 1.0}, {"mirostat": 2}),
    ({"repeat_penalty": 2.0}, {}),
    ({"repeat_last_n": 1}, {"repeat_penalty": 2.0}),
    ({"frequency_penalty": 2.0}, {"temperature": 0}),
    ({"presence_penalty": 2.0}, {"temperature": 0}),
    ({"dry_multiplier": 9.0}, {"logit_bias": {LETTER_A: 9.0}}),
    ({"dry_base": 4.0}, {"dry_multiplier": 1.0, "logit_bias": {LETTER_A: 9.0}}),
    ({"dry_allowed_length": 8}, {"dry_multiplier": 9.0, "logit_bias": {LETTER_A: 9.0}}),
    ({"dry_penalty_last_n": 3}, {"dry_multiplier": 9.0, "logit_bias": {LETTER_A: 9.0}}),
    ({"dry_sequence_breakers": ["A"]}, {"dry_multiplier": 9.0, "logit_bias": {LETTER_A: 9.0}}),
    ({"logit_bias": {LETTER_A: 9.0}}, {}),
    ({"seed": 8}, {}),
    ({"stop": ["A"]}, {"logit_bias": {LETTER_A: 9.0}}),
    ({"ignore_eos": False}, {"logit_bias": {SPECIAL.index("<|im_end|>"): 9.0}}),
]


def test_no_field_of_sampling_is_left_out() -> None:
    assert {name for field, _ in FIELDS for name in field} == set(Sampling.__struct_fields__) - {"logprobs"}


@pytest.mark.parametrize(("field", "others"), FIELDS, ids=[next(iter(field)) for field, _ in FIELDS])
async def test_every_field_of_sampling_acts(
    client: openai.AsyncOpenAI, field: dict[str, object], others: dict[str, object]
) -> None:
    """The seed repeats an answer, and with the field it is another one."""
    without = {**DRAWN, **others}
    first = await tokens(client, without)
    assert await tokens(client, without) == first
    assert await tokens(client, {**without, **field}) != first


@pytest.mark.parametrize("field", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"top_n_sigma": 0.0001}])
async def test_what_leaves_one_token_is_greedy(client: openai.AsyncOpenAI, field: dict[str, object]) -> None:
    assert await tokens(client, {**DRAWN, **field}) == await tokens(client, GREEDY)


async def test_the_log_probabilities_are_of_the_tokens_that_came(client: openai.AsyncOpenAI) -> None:
    logprobs = (await chat(client, {**GREEDY, "logprobs": True, "top_logprobs": 20})).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == GREEDY["max_tokens"]
    for token in logprobs.content:
        values = [other.logprob for other in token.top_logprobs]
        assert token.logprob == values[0] == max(values)  # greedy
        assert values == sorted(values, reverse=True)
        assert 0 < sum(map(math.exp, values)) <= 1


async def test_choices_differ_and_the_prompt_is_paid_once(client: openai.AsyncOpenAI) -> None:
    one, three = [await chat(client, {**DRAWN, "n": n}) for n in (1, 3)]
    texts = [choice.message.content for choice in three.choices]
    assert texts[0] == one.choices[0].message.content
    assert len(set(texts)) == 3
    assert one.usage is not None
    assert three.usage is not None
    assert three.usage.prompt_tokens == one.usage.prompt_tokens
    assert three.usage.completion_tokens == 3 * one.usage.completion_tokens
    greedy = await chat(client, {**GREEDY, "n": 2})
    assert len({choice.message.content for choice in greedy.choices}) == 1


async def test_a_stop_string_ends_the_answer_and_is_not_shown(client: openai.AsyncOpenAI) -> None:
    letters = {**GREEDY, "structured_outputs": {"regex": "[a-z]{20}"}}
    whole = (await chat(client, letters)).choices[0].message.content or ""
    stopped = (await chat(client, {**letters, "stop": [whole[7:10], "0"]})).choices[0]
    assert re.fullmatch("[a-z]{20}", whole)
    assert stopped.message.content == whole[: whole.index(whole[7:10])]
    assert stopped.finish_reason == "stop"


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "pets": {"type": "array", "items": {"enum": ["cat", "dog"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "pets"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_model_that_knows_nothing_writes_what_the_schema_wants(client: openai.AsyncOpenAI, seed: int) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    answer = await chat(client, {"response_format": format_, "temperature": 1, "seed": seed})
    assert answer.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(answer.choices[0].message.content or ""), SCHEMA)


async def test_an_answer_ends_where_the_context_does(client: openai.AsyncOpenAI) -> None:
    answer = await chat(client, {**GREEDY, "max_tokens": CONTEXT}, LONG)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.total_tokens == CONTEXT


async def test_the_next_turn_reads_what_is_new(client: openai.AsyncOpenAI) -> None:
    letters = {"structured_outputs": {"regex": "[a-z]{30}"}}
    first = await chat(client, letters, LONG[:200])
    reply = first.choices[0].message.content or ""
    turns: list[ChatCompletionMessageParam] = [
        *asking(LONG[:200]),
        {"role": "assistant", "content": reply},
        *asking("And then?"),
    ]
    second = await client.chat.completions.create(model=MODEL, messages=turns, extra_body=letters)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    known = first.usage.total_tokens - 1  # the last was not read
    assert second.usage.prompt_tokens_details.cached_tokens == known - known % TILE_TOKENS > 0


@pytest.mark.parametrize(
    ("path", "fields", "param", "words"),
    [
        ("chat/completions", {"messages": asking("word " * 200)}, "messages", f"the context holds {CONTEXT}"),
        ("chat/completions", {"messages": asking("x"), "lora": [{"name": "pirate"}]}, "lora", "pirate"),
        ("chat/completions", {"messages": asking("x"), "logit_bias": {"259": 1}}, "logit_bias", "0 to 258"),
        ("chat/completions", {"messages": asking("x"), "beams": 2}, "beams", "beams"),
        ("completions", {"prompt": [3, 259]}, "prompt", "0 to 258"),
        ("completions", {"prompt": ""}, "prompt", "empty"),
        ("embeddings", {"input": "x"}, "model", "no embeddings"),
    ],
)
async def test_what_it_cannot_do_is_refused_by_name(
    http: httpx2.AsyncClient, url: str, path: str, fields: dict[str, object], param: str, words: str
) -> None:
    response = await http.post(f"{url}/{path}", json=fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]


async def test_answers_side_by_side_are_those_alone(client: openai.AsyncOpenAI) -> None:
    """Each has a program of its own, so they are the same to the bit, in which order they come."""
    texts = ["hello", LONG, "Why is the sky blue?", LONG[::-1]]
    alone = [await tokens(client, GREEDY, text) for text in texts]
    together = await asyncio.gather(*(tokens(client, GREEDY, text) for text in reversed(texts)))
    assert list(reversed(together)) == alone
    assert len({b"".join(answer) for answer in alone}) == len(texts)


async def test_more_streams_than_programs_wait_for_their_turn(http: httpx2.AsyncClient, url: str) -> None:
    async def stream() -> str:
        body = {"messages": asking("hello"), "stream": True, **GREEDY, "max_tokens": 200}
        return (await http.post(f"{url}/chat/completions", json=body)).text

    streams = await asyncio.gather(*(stream() for _ in range(SLOTS + 2)))
    assert all(text.endswith("data: [DONE]\n\n") for text in streams)
    assert sum(": queue position" in text for text in streams) == 2
    answers = {"".join(re.findall(r'"content":"((?:[^"\\]|\\.)*)"', text)) for text in streams}
    assert len(answers) == 1


async def test_clients_that_leave_make_room(http: httpx2.AsyncClient, url: str, service: LocalService) -> None:
    async def leave() -> None:
        body = {"messages": asking("hello"), "stream": True, **GREEDY, "max_tokens": CONTEXT - 30}
        async with http.stream("POST", f"{url}/chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                if '"content":' in line:
                    return

    before = (await service.measure()).steps
    await asyncio.gather(*(leave() for _ in range(SLOTS)))
    response = await http.post(f"{url}/chat/completions", json={"messages": asking("ok"), "max_tokens": 4})
    assert response.status_code == 200
    assert (await service.measure()).steps - before < CONTEXT / 2


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_worker_costs_its_answers_and_no_more(tiny_program: Path) -> None:  # noqa: F811
    with (
        serving("--model", str(tiny_program / PROGRAM), "--parallel", "2") as server,
        openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client,
    ):
        before, worker = server.process.pid, server.worker
        fields = {**GREEDY, "max_tokens": CONTEXT - 30}
        stream = client.chat.completions.create(model=MODEL, messages=asking("hello"), stream=True, extra_body=fields)
        next(iter(stream))
        worker.kill()
        with pytest.raises(openai.APIError) as caught:
            list(stream)
        assert caught.value.code == "worker_died"
        assert "signal 9" in caught.value.message
        assert "cpuinfo" not in caught.value.message
        answer = client.chat.completions.create(model=MODEL, messages=asking("hello"), max_tokens=4)
        assert answer.choices[0].finish_reason is not None
        assert (server.process.pid, server.process.poll()) == (before, None)
        assert server.worker != worker
