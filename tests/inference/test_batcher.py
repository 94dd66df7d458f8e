"""The batcher under random schedules: whatever comes and goes, every answer is the one it would be alone."""

import random
from collections.abc import Generator
from pathlib import Path

import pytest

from localllm.engines.base import Engine
from localllm.engines.echo import EchoRunner
from localllm.engines.job import Job
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.inference.batcher import Batcher
from localllm.types import Sampling
from tests.engines.contract import Answer, tokens

TEXT = "the river carried small boats past quiet stone houses where people were cooking supper"
WORDS = TEXT.split()


@pytest.fixture(scope="module", params=["echo", "llama_cpp"])
def engine(request: pytest.FixtureRequest, tiny_model: Path) -> Generator[Engine, None, None]:
    """Without flash attention llama.cpp's rows do not depend on their neighbours (see docs/performance.md)."""
    plan = LoadPlan(
        engine=request.param,
        path="" if request.param == "echo" else str(tiny_model),
        max_jobs=5,
        context_tokens=768,
        threads=1,
        flash_attention=False,
    )
    batcher = Batcher(load_runner(plan, lambda _: None))
    yield batcher
    batcher.close()


def prompts(source: random.Random, engine: Engine, count: int) -> list[tuple[int, ...]]:
    """Some of them begin alike, as chats do, and some are long enough to be read in pieces."""
    shared = " ".join(source.choice(WORDS) for _ in range(30))
    made = []
    for _ in range(count):
        own = " ".join(source.choice(WORDS) for _ in range(source.choice([1, 5, 60])))
        made.append(tokens(engine, shared + own if source.random() < 0.5 else own))
    return made


def alone(engine: Engine, prompt: tuple[int, ...], sampling: Sampling) -> str:
    engine.start(Job(id=1, tokens=prompt, sampling=sampling))
    answer = Answer()
    while engine.is_busy:
        for delta in engine.step():
            answer.add(delta)
    return answer.text


@pytest.mark.parametrize("seed", range(4))
def test_random_schedules(engine: Engine, seed: int) -> None:
    source = random.Random(seed)
    jobs = {
        job_id: Job(
            id=job_id,
            tokens=prompt,
            sampling=Sampling(
                temperature=source.choice([0.0, 0.0, 0.9]), seed=job_id, max_tokens=source.randrange(1, 40)
            ),
        )
        for job_id, prompt in enumerate(prompts(source, engine, 40), start=1)
    }
    expected = {job_id: alone(engine, job.tokens, job.sampling) for job_id, job in jobs.items()}
    answers: dict[int, Answer] = {job_id: Answer() for job_id in jobs}
    waiting, cancelled = list(jobs), set[int]()
    while waiting or engine.is_busy:
        while waiting and source.random() < 0.4:
            engine.start(jobs[waiting.pop(0)])
        if source.random() < 0.05:
            victim = source.choice(list(jobs))
            if answers[victim].finish is None and victim not in waiting:
                engine.cancel(victim)
                cancelled.add(victim)
        for delta in engine.step():
            assert delta.job_id not in cancelled
            answers[delta.job_id].add(delta)
    assert cancelled
    for job_id, answer in answers.items():
        if job_id in cancelled:
            assert expected[job_id].startswith(answer.text)
        else:
            assert answer.text == expected[job_id]
            assert answer.finish is not None


def test_a_long_prompt_does_not_stall_a_stream() -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=2)))
    batcher.start(Job(id=1, tokens=tokens(batcher, "a" * 200), sampling=Sampling()))
    while not any(delta.text for delta in batcher.step()):
        pass
    batcher.start(Job(id=2, tokens=tokens(batcher, "b" * 3000), sampling=Sampling(max_tokens=1)))
    between = 0
    while True:
        deltas = batcher.step()
        if any(delta.job_id == 2 and delta.finish for delta in deltas):
            break
        between += sum(delta.job_id == 1 and bool(delta.text) for delta in deltas)
    assert between > 3000 / 64 - 2  # one token of the stream for each piece of the prompt


def test_progress_of_a_long_prompt_is_told() -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=1)))
    batcher.start(Job(id=1, tokens=tokens(batcher, "b" * 200), sampling=Sampling(max_tokens=1)))
    told = []
    while batcher.is_busy:
        told += [(delta.prompt_done, delta.prompt_total) for delta in batcher.step() if delta.prompt_done]
    assert told == [(64, 201), (128, 201), (192, 201)]


def test_jobs_get_slots_in_order_of_arrival() -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=1)))
    for job_id in range(5):
        batcher.start(Job(id=job_id, tokens=tokens(batcher, "x"), sampling=Sampling()))
    ended = []
    while batcher.is_busy:
        ended += [delta.job_id for delta in batcher.step() if delta.finish]
    assert ended == [0, 1, 2, 3, 4]


def test_times_add_up() -> None:
    batcher = Batcher(EchoRunner(LoadPlan(engine="echo", path="200", max_jobs=1)))
    for job_id in (1, 2):
        batcher.start(Job(id=job_id, tokens=tokens(batcher, "abcdefghij"), sampling=Sampling()))
    usages = []
    while batcher.is_busy:
        usages += [delta.usage for delta in batcher.step() if delta.usage is not None]
    first, second = usages
    assert first.completion_tokens == second.completion_tokens == 10
    assert first.queue_seconds < 0.005 <= first.decode_seconds
    assert second.queue_seconds >= first.prefill_seconds + first.decode_seconds
    assert 0 < first.tokens_per_second <= 200
