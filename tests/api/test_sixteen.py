"""Sixteen streams at once say what each of them says alone.

With flash attention off, llama.cpp's CPU kernels give a token the same logits whatever else is in the batch, so
the texts should be equal. Other kernels round otherwise in a batch of another shape. So where two texts part, both
next tokens must be equally likely as far as this model and machine can tell: the test replays the common part in
this process, alone and beside fifteen others, and takes the largest change of any logit as the noise of batching;
the logits of the two tokens may not be further apart than that noise can bring them.
"""

import asyncio
from collections.abc import Generator
from itertools import takewhile
from pathlib import Path

import numpy as np
import openai
import pytest

from localllm.chat.template import ChatTemplate
from localllm.engines.base import Batch, Logits, Runner
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.models.local import LocalModel
from localllm.types import Message
from tests.processes import ServerProcess, serving

pytestmark = [pytest.mark.real_model, pytest.mark.slow]

MODEL = "smollm2:135m"
STREAMS = 16
ROUNDING = 1e-3  # logits; what is closer than this is a tie on any machine
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
            engine="llama_cpp",
            path=starter_model.path,
            max_jobs=STREAMS,
            context_tokens=256,
            flash_attention=flash_attention,
        )
        runner = load_runner(plan, lambda _: None)
        try:
            parted = [Parting(runner, QUESTIONS[i], alone[i], together[i]) for i in differing]
        finally:
            runner.close()
        print(*((round(parting.gap, 3), round(parting.noise, 3)) for parting in parted))
        assert [parting for parting in parted if parting.gap > 2 * parting.noise + ROUNDING] == []


class Parting:
    """The place where two answers to one question part: how far apart the logits of the two next tokens are, and
    how far batching moves logits there."""

    def __init__(self, runner: Runner, question: str, one: str, other: str) -> None:
        self._runner = runner
        tokenizer = runner.tokenizer
        assert tokenizer.chat_template is not None
        template = ChatTemplate(tokenizer.chat_template, bos=tokenizer.bos, eos=tokenizer.eos)
        text = template.render([Message("system", SYSTEM), Message("user", question)])
        prompt = tokenizer.encode(text, add_special=False, parse_special=True)
        first, second = (tokenizer.encode(text, add_special=False, parse_special=False) for text in (one, other))
        common = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]
        logits = self._replay(prompt, common, streams=1)
        ends = sorted(tokenizer.end_tokens)
        nexts = [tokens[len(common)] if len(tokens) > len(common) else ends for tokens in (first, second)]
        values = [float(np.max(logits[token])) for token in nexts]
        self.gap = abs(values[0] - values[1])
        self.noise = float(np.max(np.abs(self._replay(prompt, common, streams=STREAMS) - logits)))

    def _replay(self, prompt: list[int], answer: list[int], streams: int) -> Logits:
        """The logits after prompt and answer in the first of so many streams that all say the same."""
        batch = Batch(self._runner.info.batch_tokens)
        rows: Logits | None = None
        for slot in range(streams):
            self._runner.trim(slot, 0)
            batch.clear()
            batch.add(slot, 0, prompt, logits=True)
            rows = self._runner.decode(batch)
        for position, token in enumerate(answer, start=len(prompt)):
            batch.clear()
            for slot in range(streams):
                batch.add(slot, position, [token], logits=True)
            rows = self._runner.decode(batch)
        assert rows is not None
        first: Logits = rows[0].copy()
        return first
