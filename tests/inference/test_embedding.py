"""Embedding jobs: every input gets its vector, a few at a time, and bad input is named."""

from pathlib import Path

import numpy as np
import pytest

from localllm.engines.echo import EchoRunner
from localllm.engines.job import Job
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.errors import ContextOverflow, InvalidRequest
from localllm.inference.batcher import Batcher
from localllm.inference.embedding import INPUTS_AT_ONCE, Embedder, EmbedJob
from localllm.inference.speculation.lookup import PromptLookup
from localllm.types import Embeddings, Sampling
from tests.tiny import write_tiny_embedder


@pytest.fixture
def runner() -> EchoRunner:
    return EchoRunner(LoadPlan(engine="echo", path="", max_jobs=2))


@pytest.fixture
def embedder(runner: EchoRunner) -> Embedder:
    return Embedder(runner, runner.tokenizer.vocab_size)


def drain(embedder: Embedder) -> list[tuple[int, Embeddings]]:
    done = []
    while embedder.is_busy:
        result = embedder.step()
        if result is not None:
            done.append(result)
    return done


def test_every_input_gets_the_vector_it_gets_alone(runner: EchoRunner, embedder: Embedder) -> None:
    inputs = tuple(tuple(b"text number %d" % number * (1 + number % 3)) for number in range(3 * INPUTS_AT_ONCE + 1))
    embedder.start(EmbedJob(id=7, inputs=inputs))
    ((job_id, made),) = drain(embedder)
    assert job_id == 7
    assert made.prompt_tokens == sum(map(len, inputs))
    assert len(made.vectors) == len(inputs)
    for tokens, vector in zip(inputs, made.vectors, strict=True):
        found = np.frombuffer(vector, "<f4")
        np.testing.assert_allclose(found, runner.embed([tokens])[0], atol=1e-6)
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_long_inputs_go_one_by_one(runner: EchoRunner, embedder: Embedder) -> None:
    long = tuple([65] * runner.embedding_tokens)
    embedder.start(EmbedJob(id=1, inputs=(long, long, (66,))))
    assert embedder.step() is None
    assert embedder.step() is None
    assert embedder.step() is not None


def test_interactive_jobs_go_first(embedder: Embedder) -> None:
    many = ((65,),) * (INPUTS_AT_ONCE * 2)
    embedder.start(EmbedJob(id=1, inputs=many, is_batch=True))
    assert embedder.step() is None
    embedder.start(EmbedJob(id=2, inputs=many))
    assert [job_id for job_id, _ in drain(embedder)] == [2, 1]


def test_a_cancelled_job_is_forgotten(embedder: Embedder) -> None:
    for job_id in (1, 2):
        embedder.start(EmbedJob(id=job_id, inputs=((65,),)))
    embedder.cancel(1)
    embedder.cancel(99)
    assert [job_id for job_id, _ in drain(embedder)] == [2]


@pytest.mark.parametrize("bad", [(), (-1,), (10**6,)])
def test_impossible_inputs_are_named(embedder: Embedder, bad: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest, match="input 1") as caught:
        embedder.start(EmbedJob(id=1, inputs=((65,), bad)))
    assert caught.value.param == "input"
    assert not embedder.is_busy


def test_an_input_too_long_is_refused(runner: EchoRunner, embedder: Embedder) -> None:
    with pytest.raises(ContextOverflow, match=f"up to {runner.embedding_tokens}"):
        embedder.start(EmbedJob(id=1, inputs=(tuple([65] * (runner.embedding_tokens + 1)),)))


def test_a_runner_without_embeddings_says_so() -> None:
    class Chatty(EchoRunner):
        embedding_width = None

    embedder = Embedder(Chatty(LoadPlan(engine="echo", path="", max_jobs=1)), 258)
    with pytest.raises(InvalidRequest, match="no embeddings"):
        embedder.start(EmbedJob(id=1, inputs=((65,),)))


def test_a_model_that_only_embeds_is_not_asked_for_text(tmp_path: Path) -> None:
    plan = LoadPlan(engine="llama_cpp", path=str(write_tiny_embedder(tmp_path / "bert.gguf", pooling="cls")), threads=1)
    runner = load_runner(plan, lambda _: None)
    batcher = Batcher(runner, drafter=PromptLookup())
    assert not batcher.idle()
    with pytest.raises(InvalidRequest, match="no text"):
        batcher.start(Job(id=1, tokens=(5,), sampling=Sampling()))
    embedder = Embedder(runner, runner.tokenizer.vocab_size)
    embedder.start(EmbedJob(id=1, inputs=((5, 6), (7,))))
    assert len(drain(embedder)[0][1].vectors) == 2
    batcher.close()
