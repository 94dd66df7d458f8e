"""Scoring a text by the base."""

import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from localllm.engines.base import Batch
from localllm.errors import EngineError, InvalidRequest, LoadFailed, ModelError, ModelNotFound, NoRoom
from localllm.quantize.quality.base_file import reading
from localllm.quantize.steps import Progress
from tests.quantize.quality.scoring import CHUNK_TOKENS, TEXT, running, score, wanting_bos, write_text
from tests.tiny import write_tiny_model

SCORED = CHUNK_TOKENS // 2 - 1


def exact_surprises(model: Path, text: str, chunks: int) -> list[float]:
    """By the raw logits of whole chunks, in float64, token by token."""
    found = []
    with running(model) as runner:
        tokens = runner.tokenizer.encode(text, add_special=True, parse_special=False)
        for start in range(0, chunks * CHUNK_TOKENS, CHUNK_TOKENS):
            chunk = tokens[start : start + CHUNK_TOKENS]
            if tokens[0] == 0:  # BOS
                chunk[0] = 0
            batch = Batch(CHUNK_TOKENS)
            batch.add(0, 0, chunk, logits=CHUNK_TOKENS)
            runner.trim(0, 0)
            for place, row in enumerate(runner.decode(batch).astype(np.float64)[:-1]):
                if place >= CHUNK_TOKENS // 2:
                    found.append(float(np.log(np.exp(row).sum()) - row[chunk[place + 1]]))
    return found


@pytest.mark.parametrize("bos", [False, True])
def test_a_perplexity_is_that_of_the_raw_logits(tiny_model: Path, tmp_path: Path, bos: bool) -> None:
    model = wanting_bos(tiny_model, tmp_path / "bos.gguf") if bos else tiny_model
    expected = np.array(exact_surprises(model, TEXT, 4))
    found = score(model, tmp_path / "base")
    assert (found.chunks, found.positions) == (4, 4 * SCORED)
    assert found.perplexity.value == pytest.approx(np.exp(expected.mean()), rel=2e-4)
    assert found.perplexity.error == pytest.approx(
        np.exp(expected.mean()) * expected.std() / np.sqrt(len(expected) - 1), rel=2e-3
    )


def test_bos_matters(tiny_model: Path, tmp_path: Path) -> None:
    with_bos = score(wanting_bos(tiny_model, tmp_path / "bos.gguf"), tmp_path / "base")
    assert with_bos.perplexity != score(tiny_model, tmp_path / "base").perplexity


def test_the_file_says_what_it_is_of(tiny_model: Path, tmp_path: Path) -> None:
    score(tiny_model, tmp_path / "base", chunks=2)
    with reading(tmp_path / "base") as base:
        assert (base.header.chunks, base.header.chunk_tokens, base.header.vocab_size) == (2, CHUNK_TOKENS, 259)
        assert base.header.model
        assert TEXT.startswith(base.text)
        assert len(base.text) >= 2 * CHUNK_TOKENS


def test_fewer_chunks_where_the_text_has_no_more(tiny_model: Path, tmp_path: Path) -> None:
    text = write_text(tmp_path, TEXT[: 3 * CHUNK_TOKENS + 5])
    assert score(tiny_model, tmp_path / "base", text=text, chunks=50).chunks == 3


def test_progress_is_told(tiny_model: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    score(tiny_model, tmp_path / "base", chunks=3, report=told.append)
    assert [(each.done, each.total) for each in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told[0].what == "61 kB of predictions"  # 12 kB of them the text
    assert told[3].what == "chunk 3"


def test_a_short_text_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="fewer than 64 tokens") as caught:
        score(tiny_model, tmp_path / "base", text=write_text(tmp_path, "x" * 63))
    assert caught.value.param == "text"
    assert not (tmp_path / "base").exists()


def test_a_chunk_longer_than_the_context_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises((InvalidRequest, LoadFailed), match="1024"):
        score(tiny_model, tmp_path / "base", chunk_tokens=2048)


def test_models_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(LoadFailed, match="not a GGUF file"):
        score(tmp_path / "text.gguf", tmp_path / "base")
    with pytest.raises(ModelNotFound):
        score(tmp_path / "missing.gguf", tmp_path / "base")


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_model_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    added = {"output.weight": np.full((259, 64), np.nan, np.float32)}
    model = write_tiny_model(tmp_path / "broken.gguf", added=added)
    with pytest.raises(EngineError, match=r"broken\.gguf broke"):
        score(model, tmp_path / "base")
    assert files_of(tmp_path) == {"broken.gguf", "text.txt"}


def test_a_disk_without_room_is_noticed_before(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**16))
    with pytest.raises(NoRoom, match="are needed"):
        score(tiny_model, tmp_path / "base")
    assert files_of(tmp_path) == {"text.txt"}


def test_a_disk_that_fills_up_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    text = write_text(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # writing fails beyond
    try:
        with pytest.raises(ModelError, match="cannot write"):
            score(tiny_model, tmp_path / "base", text=text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files_of(tmp_path) == {"text.txt"}
