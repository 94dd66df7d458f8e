"""The echo engine under the batcher."""

import numpy as np
import pytest

from localllm.engines.base import Batch, EmbeddingRunner, Engine, Runner
from localllm.engines.echo import MARKER, EchoRunner
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineError, LoadFailed
from localllm.inference.batcher import Batcher
from tests.engines.contract import EngineContract, ask
from tests.engines.runner_contract import RunnerContract


@pytest.fixture
def engine() -> Engine:
    return Batcher(EchoRunner(LoadPlan(engine="echo", path="", max_jobs=4, context_tokens=512)))


class TestEcho(EngineContract):
    """The contract."""

    def test_it_says_what_was_said(self, engine: Engine) -> None:
        text = "Grüße, 日本 🎉\nnew line"
        answer = ask(engine, text, max_tokens=None)
        assert answer.text == text
        assert answer.finish == "stop"

    def test_max_tokens_may_cut_a_character(self, engine: Engine) -> None:
        assert ask(engine, "é", max_tokens=1).text == "\ufffd"


@pytest.fixture
def runner() -> Runner:
    return EchoRunner(LoadPlan(engine="echo", path="", max_jobs=3, context_tokens=256))


class TestEchoRunner(RunnerContract):
    """The contract of runners."""


def test_rows_must_continue_their_slot() -> None:
    runner = EchoRunner(LoadPlan(engine="echo", path=""))
    batch = Batch(8)
    batch.add(0, 0, [72, 73, MARKER], logits=True)
    assert int(np.argmax(runner.decode(batch)[0])) == 72
    with pytest.raises(EngineError, match="slot 0 holds 3 tokens"):
        runner.decode(batch)


@pytest.mark.parametrize("rate", ["fast", "0", "-1", "nan", "inf"])
def test_a_rate_is_a_number_of_steps(rate: str) -> None:
    with pytest.raises(LoadFailed, match="steps per second"):
        EchoRunner(LoadPlan(engine="echo", path=rate))


def test_its_vectors_count_bytes(runner: Runner) -> None:
    assert isinstance(runner, EmbeddingRunner)
    texts = ["abba", "baab", "xyz", ""]
    vectors = runner.embed([runner.tokenizer.encode(text, add_special=True, parse_special=True) for text in texts])
    assert vectors.shape == (4, runner.embedding_width)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors[:3], axis=1), 1)
    assert np.array_equal(vectors[0], vectors[1])
    assert vectors[0] @ vectors[2] == 0
    assert not vectors[3].any()
