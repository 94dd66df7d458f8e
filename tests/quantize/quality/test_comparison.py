"""Comparing models with the base."""

import ctypes
import pydoc_data.topics
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.engines.base import Batch
from localllm.errors import EngineError, IntegrityError, InvalidRequest
from localllm.models.local import LocalModel
from localllm.quantize.quality.base_file import header_of, writing
from localllm.quantize.steps import Progress
from tests.quantize.quality.scoring import (
    CHUNK_TOKENS,
    LINE,
    TEXT,
    compared,
    running,
    score,
    wanting_bos,
    write_text,
)
from tests.tiny import WIDTH, write_tiny_embedder, write_tiny_model

HALF = CHUNK_TOKENS // 2
Q8_0, Q4_0 = 7, 2  # llama_ftype


@pytest.fixture(scope="module")
def base(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base"
    score(tiny_model, path)
    return path


@pytest.fixture(scope="module")
def neighbour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with slightly other weights."""
    noise = np.random.default_rng(3).normal(0, 0.05, (259, WIDTH)).astype(np.float32)
    return write_tiny_model(tmp_path_factory.mktemp("model") / "neighbour.gguf", added={"output.weight": noise})


def log_probabilities(model: Path) -> NDArray[np.float64]:
    """Of the second halves of the first four chunks, by the raw logits, [rows, vocabulary]."""
    rows = []
    with running(model) as runner:
        tokens = runner.tokenizer.encode(TEXT, add_special=True, parse_special=False)
        for start in range(0, 4 * CHUNK_TOKENS, CHUNK_TOKENS):
            batch = Batch(CHUNK_TOKENS)
            batch.add(0, 0, tokens[start : start + CHUNK_TOKENS], logits=CHUNK_TOKENS)
            runner.trim(0, 0)
            rows.append(runner.decode(batch)[HALF:-1].astype(np.float64))
    exact = np.concatenate(rows)
    result: NDArray[np.float64] = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    return result


def test_a_model_is_no_way_from_itself(tiny_model: Path, base: Path) -> None:
    found = compared(tiny_model, base)
    assert 0 <= found.divergence_mean < 2e-7
    assert found.divergence_max < 1e-6
    assert found.same_top == 1
    assert found.positions == 4 * (HALF - 1)


def test_figures_are_those_of_the_raw_logits(tiny_model: Path, neighbour: Path, base: Path) -> None:
    ours, theirs = log_probabilities(tiny_model), log_probabilities(neighbour)
    expected = [sum(np.exp(p) * (p - q) for p, q in zip(*row, strict=True)) for row in zip(ours, theirs, strict=True)]
    found = compared(neighbour, base)
    assert found.divergence_mean == pytest.approx(np.mean(expected), rel=1e-3)
    assert found.divergence_error == pytest.approx(np.std(expected) / np.sqrt(len(expected) - 1), rel=1e-2)
    assert found.divergence_p99 == pytest.approx(np.quantile(expected, 0.99), rel=1e-2)
    assert found.divergence_max == pytest.approx(max(expected), rel=1e-2)
    assert found.divergence_mean < found.divergence_p99 < found.divergence_max
    assert found.same_top == pytest.approx(np.mean(ours.argmax(axis=1) == theirs.argmax(axis=1)), abs=0.01)
    assert 0 < found.same_top < 1


def test_its_perplexity_is_the_one_it_has_as_a_base(neighbour: Path, base: Path, tmp_path: Path) -> None:
    assert compared(neighbour, base).perplexity == score(neighbour, tmp_path / "base").perplexity


def test_comparing_again_gives_the_same(neighbour: Path, base: Path) -> None:
    assert compared(neighbour, base) == compared(neighbour, base)


def test_progress_is_told(tiny_model: Path, base: Path) -> None:
    told: list[Progress] = []
    compared(tiny_model, base, told.append)
    assert [(each.done, each.total) for each in told] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_model_that_makes_no_text_is_refused(base: Path, tmp_path: Path) -> None:
    path = write_tiny_embedder(tmp_path / "embedder.gguf", pooling="cls")
    with pytest.raises(InvalidRequest, match="embeddings only"):
        compared(path, base)


def test_another_vocabulary_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    header = header_of(b"", model="", vocab_size=260, chunks=1, chunk_tokens=8, tokens="")
    with writing(tmp_path / "base", header, b"") as writer:
        writer.write(np.zeros((3, 260), np.uint16))
    with pytest.raises(InvalidRequest, match="vocabulary of 259 tokens, the base one of 260") as caught:
        compared(tiny_model, tmp_path / "base")
    assert caught.value.param == "model"


def test_other_tokens_are_refused(tiny_model: Path, base: Path, tmp_path: Path) -> None:
    """As a model that was converted with another pre-tokenizer, or another opinion about BOS, makes them."""
    with pytest.raises(InvalidRequest, match="other tokens than the base") as caught:
        compared(wanting_bos(tiny_model, tmp_path / "bos.gguf"), base)
    assert caught.value.param == "model"


def test_a_damaged_row_is_noticed_when_it_is_read(tiny_model: Path, base: Path, tmp_path: Path) -> None:
    data = bytearray(base.read_bytes())
    data[-1000] ^= 4
    (tmp_path / "base").write_bytes(data)
    with pytest.raises(IntegrityError, match="checksum"):
        compared(tiny_model, tmp_path / "base")


def test_a_model_that_breaks_is_named(base: Path, tmp_path: Path) -> None:
    added = {"output.weight": np.full((259, WIDTH), np.nan, np.float32)}
    model = write_tiny_model(tmp_path / "broken.gguf", added=added)
    with pytest.raises(EngineError, match=r"broken\.gguf broke"):
        compared(model, base)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_chunks(tiny_model: Path, tmp_path: Path) -> None:
    """36 more chunks of 512 tokens have 4.8 MB of codes, 9.5 MB of logits."""
    text = write_text(tmp_path, LINE * 400)

    def peaks(chunks: int) -> tuple[int, int]:
        found = []
        for run in (
            lambda: score(tiny_model, tmp_path / "base", text=text, chunks=chunks, chunk_tokens=512),
            lambda: compared(tiny_model, tmp_path / "base"),
        ):
            tracemalloc.start()
            run()
            found.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return found[0], found[1]

    few, many = peaks(4), peaks(40)
    assert many[0] - few[0] < 1e6
    assert many[1] - few[1] < 1e6


def quantized(source: str, target: Path, kind: int) -> Path:
    import llama_cpp as lib

    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = kind, 2, True
    assert lib.llama_model_quantize(source.encode(), str(target).encode(), ctypes.byref(params)) == 0
    return target


@pytest.mark.slow
@pytest.mark.real_model
def test_real_models_lose_what_their_types_cost(starter_model: LocalModel, tmp_path: Path) -> None:
    """The starter model is of type Q4_1: 8 bits keep nearly all of it, other 4 bits do not."""
    topics = pydoc_data.topics.topics
    text = write_text(tmp_path, "\n".join(topics[name] for name in sorted(topics))[:12_000])
    scored = score(Path(starter_model.path), tmp_path / "base", text=text, chunks=2, chunk_tokens=256)
    itself = compared(Path(starter_model.path), tmp_path / "base")
    eight = compared(quantized(starter_model.path, tmp_path / "q8.gguf", Q8_0), tmp_path / "base")
    four = compared(quantized(starter_model.path, tmp_path / "q4.gguf", Q4_0), tmp_path / "base")
    assert 5 < scored.perplexity.value < 60
    assert 0 < scored.perplexity.error < scored.perplexity.value / 2
    assert itself.perplexity == scored.perplexity
    assert 0 <= itself.divergence_mean < 1e-7
    assert itself.same_top == 1
    assert 1e-4 < eight.divergence_mean < 0.02
    assert 0.1 < four.divergence_mean < 0.6
    assert eight.same_top > 0.9 > four.same_top > 0.5
    assert eight.divergence_error < eight.divergence_mean / 5
    assert scored.perplexity.value < four.perplexity.value
