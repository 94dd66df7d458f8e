"""Embeddings of llama.cpp: pooled as the file says, alike in any company, of length 1."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from localllm.engines.base import Batch, Vectors
from localllm.engines.llama_cpp.runner import LlamaRunner
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineError
from tests.engines.runner_contract import PROMPT, read
from tests.tiny import WIDTH, write_tiny_embedder

Pooling = Literal["mean", "cls", "last"]
POOLINGS: tuple[Pooling, ...] = ("mean", "cls", "last")
INPUTS = [[5, 6, 7, 8], [9], [10] * 20, [5, 6, 7], list(range(3, 30))]


@contextmanager
def embedder(path: Path, pooling: Pooling, context: int | None = None) -> Iterator[LlamaRunner]:
    write_tiny_embedder(path / f"{pooling}.gguf", pooling=pooling)
    plan = LoadPlan(
        engine="llama_cpp", path=str(path / f"{pooling}.gguf"), max_jobs=2, context_tokens=context, threads=1
    )
    runner = LlamaRunner(plan, lambda _: None)
    try:
        yield runner
    finally:
        runner.close()


def one_by_one(runner: LlamaRunner, inputs: list[list[int]]) -> Vectors:
    return np.concatenate([runner.embed([tokens]) for tokens in inputs])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_inputs_of_a_batch_get_the_vectors_they_get_alone(tmp_path: Path, pooling: Pooling) -> None:
    many = INPUTS + [[3 + i % 20, 4] for i in range(40)]  # more than one native call holds
    with embedder(tmp_path, pooling) as runner:
        vectors = runner.embed(many)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(many), WIDTH) == (len(many), runner.embedding_width)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert np.allclose(vectors, one_by_one(runner, many), atol=2e-3)
        assert not np.allclose(vectors[0], vectors[3], atol=1e-2)
        assert runner.embed([]).shape == (0, WIDTH)


def test_the_mean_is_the_mean_of_what_every_prefix_ends_with(tmp_path: Path) -> None:
    """A token's embedding, which depends on those before it alone, is the last of the text that ends there. Only
    their directions come out, and all have the same length before: the model ends with a norm of unit weights."""
    tokens = INPUTS[4]
    with embedder(tmp_path, "last") as runner:
        ends = runner.embed([tokens[: i + 1] for i in range(len(tokens))])
    with embedder(tmp_path, "mean") as runner:
        pooled = runner.embed([tokens])[0]
    mean = ends.mean(axis=0)
    assert np.allclose(pooled, mean / np.linalg.norm(mean), atol=2e-3)
    assert not np.allclose(pooled, ends[-1], atol=1e-2)


def test_cls_looks_at_the_whole_text(tmp_path: Path) -> None:
    with embedder(tmp_path, "cls") as runner:
        first, other_end, other_begin = runner.embed([[2, 7, 8, 3], [2, 7, 9, 3], [4, 7, 8, 3]])
    assert not np.allclose(first, other_end, atol=1e-3)
    assert not np.allclose(first, other_begin, atol=1e-3)


def test_as_many_tokens_as_it_says_go_in(tmp_path: Path) -> None:
    with embedder(tmp_path, "cls", context=256) as runner:
        assert runner.embedding_tokens == 256
        assert runner.embed([[7] * 256]).shape == (1, WIDTH)
        assert runner.embed([[7] * 200, [8] * 56, [9] * 256]).shape == (3, WIDTH)
        for bad in ([7] * 257, []):
            with pytest.raises(EngineError, match="1 to 256 tokens"):
                runner.embed([bad])


def test_the_slots_are_left_alone(tmp_path: Path) -> None:
    with embedder(tmp_path, "mean") as runner:
        read(runner, 0, 0, PROMPT)
        state = runner.save(0)
        runner.embed(INPUTS)
        assert runner.save(0) == state
        assert runner.info.can_generate


def test_an_encoder_makes_no_text(tmp_path: Path) -> None:
    with embedder(tmp_path, "cls") as runner:
        assert not runner.info.can_generate
        batch = Batch(4)
        batch.add(0, 0, [5, 6], logits=1)
        with pytest.raises(EngineError, match="embeddings only"):
            runner.decode(batch)
        assert runner.save(0) is None
        assert runner.trim(0, 5) == 0
        assert runner.copy_prefix(0, 1, 5) == 0
        assert runner.restore(0, b"x" * 100) == 0


def test_a_chat_model_makes_no_embeddings(tiny_model: Path) -> None:
    runner = LlamaRunner(LoadPlan(engine="llama_cpp", path=str(tiny_model), max_jobs=1, threads=1), lambda _: None)
    assert runner.embedding_width is None
    with pytest.raises(EngineError, match="names no pooling"):
        runner.embed([[1]])
    runner.close()
