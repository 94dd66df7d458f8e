"""Measure `localllm quantize` on one model: seconds and memory of each step, and what each type loses.

SOURCE is the folder of a checkpoint, or a GGUF in F16, BF16 or F32. Every step runs in a process of its own, as in the
command; seconds are those of the whole process. A type is made twice, without and with an importance matrix, and both
are compared with the source on one text. Rates are ratios to the source's: models take turns, round after round, the
ratio is that within a round, and the median of the rounds is told.

A checkpoint of the starter model, to measure without a download:

    .venv/bin/python -m tests.convert.starter MODEL.gguf FOLDER --type F16
    .venv/bin/python scripts/bench_quantize.py FOLDER [--types Q8_0,IQ4_NL] [--rounds 3] [--json FILE]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from localllm.config import load_settings
from localllm.devices.cpu import processor_name, usable_cores
from localllm.errors import LocalLLMError
from localllm.quantize.advice.candidates import AUTO_TYPES
from localllm.quantize.calibration.texts import DEFAULT, NONE, both_texts
from localllm.quantize.making import CHUNK_TOKENS
from localllm.quantize.measuring import ANSWER_TOKENS, REPEATS
from localllm.quantize.order import AUTO, CALIBRATION_CHUNKS, EVALUATION_CHUNKS
from localllm.quantize.process.workshop import run_step
from localllm.quantize.steps import (
    BaseScored,
    Calibrate,
    Calibrated,
    Compare,
    Compared,
    Convert,
    Converted,
    MeasureSpeed,
    Perplexity,
    Progress,
    Quantize,
    Quantized,
    Result,
    ScoreBase,
    Speed,
    Step,
)
from localllm.quantize.types import type_of
from localllm.units import size_words

_PLAIN_TYPES = ("F32", "F16", "BF16")
_SOURCE = "the source"

Kind = TypeVar("Kind", bound=Result)


class Conversion(Struct, frozen=True, kw_only=True):
    """A checkpoint to GGUF."""

    type: str
    seconds: float
    converted: Converted


class Made(Struct, frozen=True, kw_only=True):
    """A type, made with or without a matrix."""

    type: str
    is_calibrated: bool
    seconds: float
    quantized: Quantized
    compared: Compared


class Pace(Struct, frozen=True, kw_only=True):
    """A type's rates to the source's, medians of the rounds."""

    prefill_ratio: float
    decode_ratio: float
    peak_memory_bytes: int


class Report(Struct, frozen=True, kw_only=True):
    """All that was measured."""

    processor: str
    threads: int
    load_before: float  # processes that wanted a core, over a minute (os.getloadavg); should be near 0
    conversions: list[Conversion]
    calibrate_seconds: float
    calibrated: Calibrated
    base_seconds: float
    base: BaseScored
    made: list[Made]
    paces: dict[str, Pace]  # by type


class Bench:
    """One source, a folder to work in, and what both texts are."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.threads: int = args.threads or usable_cores()
        self._args = args
        self._folder = folder
        calibration, evaluation = both_texts(args.calibrate, args.text)
        if calibration is None:
            raise SystemExit(f"bench: --calibrate {NONE} leaves nothing to compare")
        self._calibration_name = calibration.name
        self._texts = {"calibration": calibration.text, "evaluation": evaluation.text}
        for name, text in self._texts.items():
            self._path(f"{name}.txt").write_text(text, "utf-8", newline="")

    def run(self) -> Report:
        """Do it all, in this order: what comes later needs what came before."""
        load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0
        conversions = list(self._conversions())
        source = self._path("auto.gguf") if conversions else Path(self._args.source).expanduser().absolute()
        calibrate_seconds, calibrated = self._do(self._calibrate(source), Calibrated)
        base_seconds, base = self._do(self._score(source), BaseScored)
        made = [self._made(source, type_, matrix) for type_ in self._types() for matrix in ("", "importance.gguf")]
        return Report(
            processor=processor_name(),
            threads=self.threads,
            load_before=load_before,
            conversions=conversions,
            calibrate_seconds=calibrate_seconds,
            calibrated=calibrated,
            base_seconds=base_seconds,
            base=base,
            made=made,
            paces=self._paces(source),
        )

    def _types(self) -> list[str]:
        return [type_of(name).name for name in self._args.types.split(",")]

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _do(self, step: Step, kind: type[Kind]) -> tuple[float, Kind]:
        print(f"{type(step).__name__} {getattr(step, 'type', '')}".rstrip(), file=sys.stderr)
        began = time.monotonic()
        result = run_step(step, kind, _ignore)
        return time.monotonic() - began, result

    def _conversions(self) -> Iterable[Conversion]:
        folder = Path(self._args.source).expanduser().absolute()
        if not folder.is_dir():
            return
        files = {path.name: str(path) for path in folder.iterdir() if path.is_file()}
        own = ""
        for type_ in (AUTO, *_PLAIN_TYPES):
            if type_ != own:
                step = Convert(files=files, target=str(self._path(f"{type_}.gguf")), type=type_)
                seconds, converted = self._do(step, Converted)
                own = own or converted.type
                yield Conversion(type=converted.type, seconds=seconds, converted=converted)

    def _calibrate(self, source: Path) -> Calibrate:
        return Calibrate(
            model=str(source),
            text=str(self._path("calibration.txt")),
            target=str(self._path("importance.gguf")),
            dataset=self._calibration_name,
            chunks=self._args.calibration_chunks,
            chunk_tokens=CHUNK_TOKENS,
            threads=self.threads,
        )

    def _score(self, source: Path) -> ScoreBase:
        return ScoreBase(
            model=str(source),
            text=str(self._path("evaluation.txt")),
            target=str(self._path("base.logprobs")),
            chunks=self._args.evaluation_chunks,
            chunk_tokens=CHUNK_TOKENS,
            threads=self.threads,
        )

    def _made(self, source: Path, type_: str, matrix: str) -> Made:
        target = self._path(f"{type_}.gguf")
        step = Quantize(
            source=str(source),
            target=str(target),
            type=type_,
            threads=self.threads,
            importance=str(self._path(matrix)) if matrix else "",
        )
        seconds, quantized = self._do(step, Quantized)
        compare = Compare(model=str(target), base=str(self._path("base.logprobs")), threads=self.threads)
        _, compared = self._do(compare, Compared)
        return Made(type=type_, is_calibrated=bool(matrix), seconds=seconds, quantized=quantized, compared=compared)

    def _paces(self, source: Path) -> dict[str, Pace]:
        """Of the files that were made last of each type; a matrix changes no rate."""
        paths = {_SOURCE: source} | {type_: self._path(f"{type_}.gguf") for type_ in self._types()}
        rounds = [
            {name: self._do(self._speed(path), Speed)[1] for name, path in paths.items()}
            for _ in range(self._args.rounds)
        ]
        return {type_: _pace(rounds, type_) for type_ in paths} if rounds else {}

    def _speed(self, path: Path) -> MeasureSpeed:
        return MeasureSpeed(
            model=str(path),
            prompt_tokens=CHUNK_TOKENS,
            answer_tokens=ANSWER_TOKENS,
            repeats=REPEATS,
            threads=self.threads,
        )


def main() -> None:
    """Measure, print, keep."""
    args = _arguments()
    try:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            report = Bench(args, Path(name)).run()
    except LocalLLMError as error:
        raise SystemExit(f"bench: {error}") from error
    print("\n\n".join((_machine(report), *_steps(report), _quality(report), _speeds(report))))
    if args.json:
        Path(args.json).write_bytes(msgspec.json.encode(report))


def _ignore(_progress: Progress) -> None:
    """Nobody looks."""


def _pace(rounds: Sequence[dict[str, Speed]], name: str) -> Pace:
    def ratio(rate: Callable[[Speed], float]) -> float:
        return statistics.median(rate(speeds[name]) / rate(speeds[_SOURCE]) for speeds in rounds)

    return Pace(
        prefill_ratio=ratio(lambda speed: speed.prefill_rate),
        decode_ratio=ratio(lambda speed: speed.decode_rate),
        peak_memory_bytes=max(speeds[name].peak_memory_bytes for speeds in rounds),
    )


def _machine(report: Report) -> str:
    return f"{report.processor}, {report.threads} threads; load before: {report.load_before:.1f}"


def _steps(report: Report) -> list[str]:
    parts = []
    if report.conversions:
        cells = [
            (found.type, f"{found.seconds:.1f}", size_words(found.converted.peak_memory_bytes))
            for found in report.conversions
        ]
        parts.append(_table(("Convert to", "Seconds", "Peak memory"), cells))
    calibrated, base = report.calibrated, report.base
    parts.append(
        f"Importance matrix: {calibrated.chunks} chunks, {calibrated.tokens} tokens, {report.calibrate_seconds:.0f} s. "
        f"Source read: {base.chunks} chunks, {base.positions} tokens predicted, {report.base_seconds:.0f} s, "
        f"perplexity {_perplexity(base.perplexity)}."
    )
    return parts


def _quality(report: Report) -> str:
    plain = {made.type: made.compared.divergence_mean for made in report.made if not made.is_calibrated}
    cells = [_quality_cells(made, plain[made.type]) for made in report.made]
    headings = ("Type", "Matrix", "Size", "Bits", "Seconds", "KL, mean", "to without", "KL, p99", "Same", "Perplexity")
    return _table(headings, cells)


def _quality_cells(made: Made, plain: float) -> tuple[str, ...]:
    compared = made.compared
    return (
        made.type,
        "yes" if made.is_calibrated else "no",
        size_words(made.quantized.size_bytes),
        f"{made.quantized.bits_per_weight:.2f}",
        f"{made.seconds:.1f}",
        f"{compared.divergence_mean:.4f} ± {compared.divergence_error:.4f}",
        f"{compared.divergence_mean / plain:.2f}" if made.is_calibrated and plain else "",
        f"{compared.divergence_p99:.3f}",
        f"{100 * compared.same_top:.1f} %",
        _perplexity(compared.perplexity),
    )


def _speeds(report: Report) -> str:
    cells = [
        (name, f"{pace.prefill_ratio:.2f}", f"{pace.decode_ratio:.2f}", size_words(pace.peak_memory_bytes))
        for name, pace in report.paces.items()
    ]
    return _table(("Type", "Reading, to the source", "Writing, to the source", "Peak memory"), cells)


def _perplexity(found: Perplexity) -> str:
    return f"{found.value:.2f} ± {found.error:.2f}"


def _table(headings: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("source", metavar="SOURCE", help="folder of a checkpoint, or a GGUF that is not quantized")
    add("--types", default=",".join(AUTO_TYPES), metavar="TYPE,…", help="[default: what --type auto tries]")
    add("--calibrate", default=DEFAULT, metavar="TEXT", help="a file [default: default]")
    add("--text", default=DEFAULT, metavar="TEXT", help="to evaluate on: a file [default: default]")
    add("--calibration-chunks", type=int, default=CALIBRATION_CHUNKS, help=f"[default: {CALIBRATION_CHUNKS}]")
    add("--evaluation-chunks", type=int, default=EVALUATION_CHUNKS, help=f"[default: {EVALUATION_CHUNKS}]")
    add("--rounds", type=int, default=3, help="of timing; 0: none [default: 3]")
    add("--threads", type=int, default=load_settings().threads, help="[default: all cores]")
    add("--folder", help="where to work; several times the size of the model [default: the temporary folder]")
    add("--json", metavar="PATH", help="write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
