"""The `openai` package against the real model, over a socket: what its users do, and get."""

import asyncio
from collections.abc import Generator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.processes import ServerProcess, serving

pytestmark = pytest.mark.real_model

MODEL = "smollm2:135m"
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def server(starter_home: str) -> Generator[ServerProcess, None, None]:
    with serving("--parallel", "4", "--context", "1024", LOCALLLM_HOME=str(starter_home)) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Generator[openai.OpenAI, None, None]:
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as made:
        yield made


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "localllm"


def test_an_answer_and_what_it_cost(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0)
    choice = answer.choices[0]
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0).choices[0].message.content
    with client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 1
    assert chunks[-2].choices[0].finish_reason == "stop"


@pytest.mark.slow
def test_the_stream_helper_of_the_package_accepts_every_chunk(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=QUESTION, temperature=0) as stream:
        for _ in stream:
            pass
        assert "Paris" in (stream.get_final_completion().choices[0].message.content or "")


def test_a_text_is_continued(client: openai.OpenAI) -> None:
    prompt = "One, two, three, four,"
    answer = client.completions.create(model=MODEL, prompt=prompt, max_tokens=8, temperature=0)
    assert "five" in answer.choices[0].text
    assert answer.choices[0].finish_reason == "length"
    parts = client.completions.create(model=MODEL, prompt=prompt, max_tokens=8, temperature=0, stream=True)
    assert "".join(part.choices[0].text for part in parts if part.choices) == answer.choices[0].text


@pytest.mark.slow
def test_a_seed_repeats_an_answer(client: openai.OpenAI) -> None:
    def answer(seed: int) -> str:
        made = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Tell me a story."}],
            temperature=1,
            seed=seed,
            max_tokens=12,
        )
        return made.choices[0].message.content or ""

    assert answer(1) == answer(1)
    assert len({answer(seed) for seed in range(1, 5)}) > 1


def test_a_stop_string_ends_the_answer_and_is_not_shown(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, stop=["Paris"])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content
    assert "Par" not in answer.choices[0].message.content


@pytest.mark.slow
def test_choices_differ_and_the_prompt_is_paid_once(client: openai.OpenAI) -> None:
    one = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=1, seed=3, max_tokens=12)
    three = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=1, seed=3, max_tokens=12, n=3)
    texts = [choice.message.content for choice in three.choices]
    assert len(set(texts)) > 1
    assert three.usage is not None
    assert one.usage is not None
    assert three.usage.prompt_tokens == one.usage.prompt_tokens
    assert three.usage.completion_tokens > one.usage.completion_tokens


@pytest.mark.slow
def test_greedy_choices_are_equal(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="One, two, three,", max_tokens=6, temperature=0, n=2)
    assert len({choice.text for choice in answer.choices}) == 1
    assert [choice.index for choice in answer.choices] == [0, 1]


@pytest.mark.slow
def test_log_probabilities(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=8, logprobs=True, top_logprobs=3
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    text = b"".join(bytes(token.bytes or []) for token in logprobs.content).decode()
    assert text == answer.choices[0].message.content
    for token in logprobs.content:
        values = [other.logprob for other in token.top_logprobs]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)
        assert 0 >= token.logprob == values[0]  # greedy
    with client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=8, logprobs=True, top_logprobs=3, stream=True
    ) as stream:
        told = [chunk.choices[0].logprobs for chunk in stream if chunk.choices]
    streamed = [token for part in told if part is not None for token in part.content or []]
    assert [token.token for token in streamed] == [token.token for token in logprobs.content]


def test_log_probabilities_of_a_text(client: openai.OpenAI) -> None:
    prompt = "One, two, three, four,"
    answer = client.completions.create(model=MODEL, prompt=prompt, max_tokens=6, temperature=0, logprobs=2)
    logprobs, text = answer.choices[0].logprobs, answer.choices[0].text
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.text_offset is not None
    assert "".join(logprobs.tokens) == text
    for offset, token in zip(logprobs.text_offset, logprobs.tokens, strict=True):
        assert text[offset:].startswith(token)
    assert logprobs.top_logprobs is not None
    assert all(len(top) == 2 for top in logprobs.top_logprobs)  # greedy: its own is among them


def test_errors_come_as_the_exceptions_that_programs_catch(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=QUESTION)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as unknown:
        client.chat.completions.create(model=MODEL, messages=QUESTION, extra_body={"beams": 4})
    assert unknown.value.param == "beams"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 3000}])
    assert long.value.code == "context_length_exceeded"


@pytest.mark.slow
def test_closing_a_stream_early_leaves_the_server_ready(client: openai.OpenAI) -> None:
    for _ in range(6):  # more than there are slots
        with client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Count to a thousand."}], stream=True
        ) as stream:
            next(iter(stream))
    answer = client.with_options(timeout=20).chat.completions.create(model=MODEL, messages=QUESTION, temperature=0)
    assert "Paris" in (answer.choices[0].message.content or "")


@pytest.mark.slow
def test_the_async_client_streams_side_by_side(server: ServerProcess) -> None:
    async def answer(client: openai.AsyncOpenAI, question: str) -> str:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=16, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
            cities = ("France", "Italy", "Spain", "Japan")
            return await asyncio.gather(*(answer(client, f"What is the capital of {city}?") for city in cities))

    for text, city in zip(asyncio.run(main()), ("Paris", "Rome", "Madrid", "Tokyo"), strict=True):
        assert city in text
