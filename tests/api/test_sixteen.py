"""Sixteen streams at once say what each of them says alone.

With flash attention off, llama.cpp's CPU kernels give a token the same logits whatever else is in the batch, so
the texts must be equal. Other kernels may round otherwise in a batch of another shape; so where two texts part
after all, both tokens must be next to equally likely: the model's logits at that place, computed by themselves in
this process, may not tell the two by more than TIE.
"""

import asyncio
from collections.abc import Generator
from itertools import takewhile
from pathlib import Path

import numpy as np
import openai
import pytest

from localllm.chat.template import ChatTemplate
from localllm.engines.base import Batch, Runner
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.models.local import LocalModel
from localllm.types import Message
from tests.processes import ServerProcess, serving

pytestmark = [pytest.mark.real_model, pytest.mark.slow]

MODEL = "smollm2:135m"
TIE = 0.5  # logits; the best and the second-best are typically several apart
SYSTEM = "You are a helpful assistant."
QUESTIONS = [
    *("Name three rivers.", "Why is the sky blue?", "Write a line about rain.", "What is bread made of?"),
    *("Explain gravity.", "Who was Ada Lovelace?", "Name a colour.", "How do birds fly?", "What is a prime number?"),
    *("Describe a forest.", "What does a baker do?", "Say hello in French.", "What is 2 + 2?", "Name two planets."),
    *("Why do we sleep?", "Give me a title for a poem about the sea, the wind and an old lighthouse keeper."),
]


@pytest.fixture(scope="module", params=["--no-flash-attention", "--flash-attention"])
def server(request: pytest.FixtureRequest, starter_home: Path) -> Generator[tuple[ServerProcess, bool], None, None]:
    with serving("--parallel", "16", "--context", "256", request.param, LOCALLLM_HOME=str(starter_home)) as running:
        yield running, request.param == "--flash-attention"


async def answer(client: openai.AsyncOpenAI, question: str) -> str:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
        temperature=0,
        max_tokens=20,
        stream=True,
        extra_body={"repeat_penalty": 1.0},
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def both_ways(url: str) -> tuple[list[str], list[str]]:
    """The answers one after another, and all at once."""
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        alone = [await answer(client, question) for question in QUESTIONS]
        together = await asyncio.gather(*(answer(client, question) for question in QUESTIONS))
    return alone, together


def test_sixteen_streams_at_once(server: tuple[ServerProcess, bool], starter_model: LocalModel) -> None:
    running, flash_attention = server
    alone, together = asyncio.run(both_ways(running.url))
    assert len(set(alone)) == len(QUESTIONS)
    differing = [i for i, (one, other) in enumerate(zip(alone, together, strict=True)) if one != other]
    print(f"{len(differing)} of {len(QUESTIONS)} texts differ")
    if differing:
        plan = LoadPlan(
            engine="llama_cpp", path=starter_model.path, max_jobs=1, context_tokens=512, flash_attention=flash_attention
        )
        runner = load_runner(plan, lambda _: None)
        try:
            gaps = [gap_where_they_part(runner, QUESTIONS[i], alone[i], together[i]) for i in differing]
        finally:
            runner.close()
        print("logits between the two tokens:", [round(gap, 3) for gap in gaps])
        assert max(gaps) <= TIE


def gap_where_they_part(runner: Runner, question: str, one: str, other: str) -> float:
    """How far apart the logits of the two next tokens are."""
    tokenizer = runner.tokenizer
    assert tokenizer.chat_template is not None
    template = ChatTemplate(tokenizer.chat_template, bos=tokenizer.bos, eos=tokenizer.eos)
    prompt = tokenizer.encode(
        template.render([Message("system", SYSTEM), Message("user", question)]), add_special=False, parse_special=True
    )
    first, second = (tokenizer.encode(text, add_special=False, parse_special=False) for text in (one, other))
    common = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]
    ends = sorted(tokenizer.end_tokens)
    candidates = [tokens[len(common)] if len(tokens) > len(common) else ends for tokens in (first, second)]
    runner.trim(0, 0)
    batch = Batch(512)
    batch.add(0, 0, [*prompt, *common], logits=True)
    logits = runner.decode(batch)[0]
    values = [float(np.max(logits[candidate])) for candidate in candidates]
    return abs(values[0] - values[1])
