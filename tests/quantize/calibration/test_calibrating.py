"""The step from a model and a text to an importance matrix."""

from pathlib import Path

import numpy as np
import pytest

from localllm.errors import InvalidRequest, LoadFailed
from localllm.models.gguf.header import read_header
from localllm.models.local import LocalModel
from localllm.quantize.calibration.calibrating import calibrate, cut_chunks
from localllm.quantize.calibration.importance import Importance, read_importance
from localllm.quantize.calibration.texts import calibration_text
from localllm.quantize.steps import Calibrate, Calibrated, Progress
from tests.engines import numpy_llama
from tests.engines.numpy_llama import Inputs, write_model
from tests.tiny import SPECIAL, write_tiny_embedder

CHUNK = 32
WORDS = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 10


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(WORDS, "utf-8")
    return path


def step_for(model: Path, text: Path, **fields: int) -> Calibrate:
    values = {"chunks": 4, "chunk_tokens": CHUNK, "threads": 1} | fields
    return Calibrate(
        model=str(model),
        text=str(text),
        target=str(text.with_name("importance.gguf")),
        dataset="notes",
        chunks=values["chunks"],
        chunk_tokens=values["chunk_tokens"],
        threads=values["threads"],
    )


def test_the_matrix_is_that_of_the_model_in_numpy(text: Path) -> None:
    """Every chunk begins with the model's first token, in place of its own; the bytes of the text are its tokens."""
    weights = write_model(text.with_name("model.gguf"), wants_bos=True)
    step = step_for(text.with_name("model.gguf"), text)
    reports: list[Progress] = []
    result = calibrate(step, reports.append)
    inputs, tokens = Inputs(), [len(SPECIAL) + byte for byte in WORDS.encode()]
    there = len(tokens) // CHUNK
    for number in range(4):
        start = number * there // 4 * CHUNK
        numpy_llama.read(weights, [0, *tokens[start + 1 : start + CHUNK]], inputs=inputs)
    found = read_importance(Path(step.target))
    assert found.values.keys() == inputs.squares.keys()
    for name, values in found.values.items():
        expected = inputs.squares[name] / inputs.counts[name]
        np.testing.assert_allclose(values, expected.reshape(-1), rtol=0.02, err_msg=name)
    assert (found.datasets, found.chunks, found.chunk_tokens) == (("notes",), 4, CHUNK)
    size_bytes = Path(step.target).stat().st_size
    assert result == Calibrated(tensors=len(found.values), chunks=4, tokens=4 * CHUNK, size_bytes=size_bytes)
    assert [(report.done, report.total) for report in reports] == [(done, 4) for done in range(5)]


def test_what_is_unusable_is_refused(text: Path) -> None:
    model = text.with_name("model.gguf")
    write_model(model)
    short = text.with_name("short.txt")
    short.write_text(WORDS[:199], "utf-8")
    with pytest.raises(InvalidRequest, match="has 199 tokens, 200 are needed at least; name a longer one"):
        calibrate(step_for(model, short, chunk_tokens=100), ignore)
    with pytest.raises(InvalidRequest, match="one chunk of the text at least"):
        calibrate(step_for(model, text, chunks=0), ignore)
    with pytest.raises(InvalidRequest, match="cannot read the text"):
        calibrate(step_for(model, text.with_name("missing.txt")), ignore)
    with pytest.raises(LoadFailed, match="no GGUF file"):
        calibrate(step_for(text, text), ignore)
    embedder = write_tiny_embedder(text.with_name("bert.gguf"), pooling="cls")
    with pytest.raises(InvalidRequest, match="--calibrate none"):
        calibrate(step_for(embedder, text), ignore)
    assert not text.with_name("importance.gguf").exists()


def test_a_stop_leaves_nothing(text: Path) -> None:
    model = text.with_name("model.gguf")
    write_model(model)

    def stop(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(step_for(model, text), stop)
    assert sorted(path.name for path in text.parent.iterdir()) == ["model.gguf", "text.txt"]


def test_experts_that_were_never_chosen_are_told(text: Path) -> None:
    model = text.with_name("model.gguf")
    write_model(model, experts=40, used=1)
    text.write_text("a" * 8, "utf-8")
    calibrate(step_for(model, text, chunks=1, chunk_tokens=8), ignore)
    found = read_importance(text.with_name("importance.gguf"))
    assert found.unused.keys() == {
        f"blk.{layer}.ffn_{part}_exps.weight" for layer in (0, 1) for part in ("gate", "up", "down")
    }
    assert min(found.unused.values()) >= 40 - 8


@pytest.mark.parametrize(
    ("tokens", "most", "starts"),
    [(8, 2, [0, 4]), (11, 2, [0, 4]), (40, 2, [0, 20]), (40, 3, [0, 12, 24]), (8, 9, [0, 4]), (7, 1, [0])],
)
def test_chunks_are_spread_over_the_text(tokens: int, most: int, starts: list[int]) -> None:
    chunks = cut_chunks(range(tokens), most=most, chunk_tokens=4, first=None)
    assert chunks == [list(range(start, start + 4)) for start in starts]
    begun = cut_chunks(range(tokens), most=most, chunk_tokens=4, first=99)
    assert begun == [[99, *range(start + 1, start + 4)] for start in starts]


@pytest.mark.slow
@pytest.mark.real_model
def test_the_starter_model_is_calibrated_with_the_default_text(starter_model: LocalModel, tmp_path: Path) -> None:
    text = calibration_text("default")
    assert text is not None
    (tmp_path / "text.txt").write_text(text.text, "utf-8")
    step = step_for(Path(starter_model.path), tmp_path / "text.txt", chunks=2, chunk_tokens=256)
    result = calibrate(step, ignore)
    found: Importance = read_importance(Path(step.target))
    weights = {tensor.name: tensor for tensor in read_header(Path(starter_model.path)).tensors}
    assert result.tensors == len(found.values) == 30 * 7
    assert all(values.size == weights[name].shape[0] for name, values in found.values.items())
    assert all((values > 0).any() for values in found.values.values())


def ignore(_progress: Progress) -> None:
    """Nobody looks."""
