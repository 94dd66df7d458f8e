"""What types lose on a real model, and what a calibration brings, measured with the command's own steps and texts.

The source is the starter model in F16. Its weights came off a grid of four bits (Q4_1) once and no finer weights are to
be had here, so figures of four bits are not those of a model that never was quantized; that each is compared with
itself, calibrated or not, is fair nevertheless.
"""

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from localllm.models.local import LocalModel
from localllm.quantize.calibration.texts import DEFAULT, both_texts
from localllm.quantize.order import CALIBRATION_CHUNKS
from localllm.quantize.process.workshop import run_step
from localllm.quantize.steps import (
    BaseScored,
    Calibrate,
    Calibrated,
    Compare,
    Compared,
    Convert,
    Converted,
    Progress,
    Quantize,
    Quantized,
    Result,
    ScoreBase,
    Step,
)
from tests.convert.starter import write_starter_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.real_model, pytest.mark.timeout(600)]

EVALUATION_CHUNKS = 8
THREADS = 2

Kind = TypeVar("Kind", bound=Result)


def ignore(_progress: Progress) -> None:
    """Nobody looks."""


def do(step: Step, kind: type[Kind]) -> Kind:
    return run_step(step, kind, ignore)


class Workplace:
    """The source, its importance matrix and its predictions; what is made of it is made once."""

    def __init__(self, folder: Path, original: Path) -> None:
        self.folder = folder
        checkpoint = write_starter_checkpoint(original, folder / "checkpoint", "F16")
        self.source = folder / "source.gguf"
        files = {path.name: str(path) for path in checkpoint.iterdir()}
        assert do(Convert(files=files, target=str(self.source)), Converted).type == "F16"
        calibration, evaluation = both_texts(DEFAULT, DEFAULT)
        assert calibration is not None
        self.importance, self.base = folder / "importance.gguf", folder / "base"
        self.calibrated = do(
            Calibrate(
                model=str(self.source),
                text=str(self._text("calibration.txt", calibration.text)),
                target=str(self.importance),
                dataset=calibration.name,
                chunks=CALIBRATION_CHUNKS,
                threads=THREADS,
            ),
            Calibrated,
        )
        self.scored = do(
            ScoreBase(
                model=str(self.source),
                text=str(self._text("evaluation.txt", evaluation.text)),
                target=str(self.base),
                chunks=EVALUATION_CHUNKS,
                threads=THREADS,
            ),
            BaseScored,
        )
        self.make = cache(self._make)
        self.compare = cache(self._compare)

    def step(self, type_: str, *, is_calibrated: bool, is_dry: bool = False) -> Quantize:
        return Quantize(
            source=str(self.source),
            target="" if is_dry else str(self.folder / f"{type_}-{is_calibrated}.gguf"),
            type=type_,
            threads=THREADS,
            importance=str(self.importance) if is_calibrated else "",
            is_dry=is_dry,
        )

    def _text(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, "utf-8", newline="")
        return path

    def _make(self, type_: str, is_calibrated: bool) -> tuple[Path, Quantized]:
        step = self.step(type_, is_calibrated=is_calibrated)
        return Path(step.target), do(step, Quantized)

    def _compare(self, type_: str, is_calibrated: bool) -> Compared:
        path, _ = self.make(type_, is_calibrated)
        found = do(Compare(model=str(path), base=str(self.base), threads=THREADS), Compared)
        print(f"{type_}{', calibrated' if is_calibrated else ''}: {found}")
        return found


@pytest.fixture(scope="module")
def workplace(starter_model: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """In a folder that does not stay: it holds more than a gigabyte, which pytest would keep."""
    folder = tmp_path_factory.mktemp("quality")
    yield Workplace(folder, Path(starter_model.path))
    shutil.rmtree(folder)


def test_the_texts_are_long_enough(workplace: Workplace) -> None:
    assert workplace.calibrated.chunks == CALIBRATION_CHUNKS
    assert workplace.calibrated.tensors == 30 * 7
    assert workplace.scored.chunks == EVALUATION_CHUNKS
    assert workplace.scored.positions == EVALUATION_CHUNKS * 255
    assert 3 < workplace.scored.perplexity.value < 60


@pytest.mark.parametrize(("type_", "most_ratio"), [("IQ4_NL", 0.6), ("Q4_K_M", 0.7)])
def test_a_calibration_brings_a_model_closer_to_its_source(type_: str, most_ratio: float, workplace: Workplace) -> None:
    plain, calibrated = workplace.compare(type_, False), workplace.compare(type_, True)
    assert plain.divergence_error < plain.divergence_mean / 8
    assert 0.01 < plain.divergence_mean < 0.5
    assert calibrated.divergence_mean <= most_ratio * plain.divergence_mean
    assert calibrated.divergence_p99 < plain.divergence_p99
    assert calibrated.same_top > plain.same_top


def test_eight_bits_are_hardly_to_be_told_from_the_source(workplace: Workplace) -> None:
    found = workplace.compare("Q8_0", False)
    assert found.same_top > 0.95
    assert 0 < found.divergence_mean < 0.01
    assert found.perplexity.value == pytest.approx(workplace.scored.perplexity.value, rel=0.01)


@pytest.mark.parametrize(
    ("type_", "is_calibrated"),
    [("Q8_0", False), ("Q4_K_M", False), ("Q4_K_M", True), ("IQ4_NL", False), ("IQ4_NL", True)],
)
def test_a_dry_run_says_the_size_to_the_byte(type_: str, is_calibrated: bool, workplace: Workplace) -> None:
    path, made = workplace.make(type_, is_calibrated)
    planned = do(workplace.step(type_, is_calibrated=is_calibrated, is_dry=True), Quantized)
    assert planned.size_bytes == made.size_bytes == path.stat().st_size
    assert planned.tensors == made.tensors
    assert planned.bits_per_weight == made.bits_per_weight
