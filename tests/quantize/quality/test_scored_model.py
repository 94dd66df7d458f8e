"""Reading chunks in pieces, in bounded memory."""

from pathlib import Path

import numpy as np
import pytest

from localllm.engines.base import Batch, Logits, Runner, TokenArray
from localllm.errors import EngineError, InvalidRequest
from localllm.models.on_disk import from_path
from localllm.quantize.quality import scored_model
from localllm.quantize.quality.distributions import Distributions
from localllm.quantize.quality.scored_model import ScoredModel, loaded, pieces
from localllm.quantize.quality.text_chunks import chunks_of, first_scored
from tests.quantize.quality.scoring import TEXT, running
from tests.tiny import write_tiny_embedder, write_tiny_model

CHUNK_TOKENS = 128


class Watched:
    """A runner that notes how much each decode was asked for."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.info, self.tokenizer, self.trim = runner.info, runner.tokenizer, runner.trim
        self.decodes: list[tuple[int, int]] = []

    def decode(self, batch: Batch) -> Logits:
        self.decodes.append((batch.size, batch.outputs))
        return self._runner.decode(batch)


def chunk_of(runner: Runner) -> TokenArray:
    chunk: TokenArray = chunks_of(TEXT, runner.tokenizer, most=1, chunk_tokens=CHUNK_TOKENS)[0]
    return chunk


@pytest.mark.parametrize(("most_rows", "most_outputs"), [(3, 3), (4, 3), (5, 4), (128, 3), (128, 64), (2048, 341)])
def test_pieces_are_whole_and_within_limits(most_rows: int, most_outputs: int) -> None:
    for rows in (*range(2, 100), 511, 512, 4095):
        first = rows // 2
        found = list(pieces(rows, first, most_rows, most_outputs))
        assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
        assert found[-1][1] == rows
        assert all(2 <= stop - start <= most_rows for start, stop in found)
        assert all(stop - max(start, first) <= most_outputs for start, stop in found)


@pytest.mark.parametrize(("limit_rows", "block_rows"), [(3, 1), (7, 2), (20, 64), (1000, 5)])
def test_pieces_and_blocks_change_nothing(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, limit_rows: int, block_rows: int
) -> None:
    with running(tiny_model) as runner:
        chunk = chunk_of(runner)
        whole = Batch(CHUNK_TOKENS)
        whole.add(0, 0, chunk, logits=CHUNK_TOKENS)
        rows = runner.decode(whole)[first_scored(CHUNK_TOKENS) : -1]
        expected = Distributions(rows.copy()).surprise(chunk[first_scored(CHUNK_TOKENS) + 1 :])
        size = runner.tokenizer.vocab_size
        monkeypatch.setattr(scored_model, "LOGITS_BYTES", limit_rows * size * 4)
        monkeypatch.setattr(scored_model, "BLOCK_VALUES", block_rows * size)
        watched = Watched(runner)
        found = list(ScoredModel(watched, "tiny").score(chunk))  # type: ignore[arg-type]
    assert np.array_equal(np.concatenate([tokens for tokens, _ in found]), chunk[first_scored(CHUNK_TOKENS) + 1 :])
    assert max(len(tokens) for tokens, _ in found) <= block_rows
    assert max(outputs for _, outputs in watched.decodes) <= limit_rows
    surprises = np.concatenate([predicted.surprise(tokens) for tokens, predicted in found])
    assert np.allclose(surprises, expected, rtol=0, atol=2e-2)  # as much as kernels round differently


def test_chunks_do_not_know_of_each_other(tiny_model: Path) -> None:
    with running(tiny_model) as runner:
        first, second = chunks_of(TEXT, runner.tokenizer, most=2, chunk_tokens=CHUNK_TOKENS)
        model = ScoredModel(runner, "tiny")
        alone = [predicted.surprise(tokens) for tokens, predicted in model.score(second)]
        for _ in model.score(first):
            pass
        again = [predicted.surprise(tokens) for tokens, predicted in model.score(second)]
    assert np.array_equal(np.concatenate(alone), np.concatenate(again))


def test_another_engine_is_read_alike() -> None:
    """The echo takes 128 tokens at once, and always expects its end where there was no marker."""
    with running(Path(), engine="echo", context_tokens=400) as runner:
        chunk = chunks_of("x" * 400, runner.tokenizer, most=1, chunk_tokens=400)[0]
        found = list(ScoredModel(runner, "echo").score(chunk))
    assert sum(len(tokens) for tokens, _ in found) == 199
    assert all((predicted.likeliest() == 257).all() for _, predicted in found)
    assert all(np.allclose(predicted.surprise(tokens), 100) for tokens, predicted in found)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_model_that_breaks_is_named(tmp_path: Path, broken: float) -> None:
    added = {"output_norm.weight": np.full(64, 0, np.float32), "output.weight": np.zeros((259, 64), np.float32)}
    added["output.weight"][100, 3] = broken
    path = write_tiny_model(tmp_path / "broken.gguf", added=added)
    with running(path) as runner, pytest.raises(EngineError, match=r"broken\.gguf broke"):
        list(ScoredModel(runner, str(path)).score(chunk_of(runner)))


def test_a_model_that_makes_no_text_is_refused(tmp_path: Path) -> None:
    path = write_tiny_embedder(tmp_path / "embedder.gguf", pooling="cls")
    with (
        pytest.raises(InvalidRequest, match="makes embeddings only"),
        loaded(from_path(str(path)), context_tokens=256, threads=1),
    ):
        pass
