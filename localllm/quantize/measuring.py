"""Measuring models against the one they were made from: quality on a text, speed in turns."""

import statistics
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from localllm.devices.cpu import processor_name
from localllm.quantize.calibration.texts import Text
from localllm.quantize.evaluation import (
    Bench,
    Evaluation,
    EvaluationText,
    Measurement,
    measurement,
)
from localllm.quantize.making import CHUNK_TOKENS, MadeFile, Making
from localllm.quantize.steps import BaseScored, Compare, Compared, MeasureSpeed, ScoreBase, Speed

ANSWER_TOKENS, REPEATS = 64, 3
ROUNDS = 2  # models are timed in turn: whatever else the machine does then meets all of them


class Measuring:
    """A source, on one text. The source is read once, however many are compared with it."""

    def __init__(self, making: Making, text: Text, chunks: int) -> None:
        self._making = making
        self._bench = making.bench
        self._text = text
        self._chunks = chunks

    def read_source(self) -> None:
        """Have the source read the text, which says whether that will do, before what takes longer.

        Raises InvalidRequest for a text that is too short, NoRoom, EngineError.
        """
        self._base  # noqa: B018  it is cached

    def evaluate(self, made: MadeFile) -> Evaluation:
        """One model before and after. Raises InvalidRequest for a text that is too short, NoRoom, EngineError."""
        compared = self.compare(made)
        speeds = self.speeds({"the source": self._making.gguf, made.type: made.path})
        return self.evaluation(made, compared, speeds[made.type], speeds["the source"])

    def evaluation(self, made: MadeFile, compared: Compared, speed: Speed, source_speed: Speed) -> Evaluation:
        """What was measured of a model, put together."""
        facts = self._making.source_facts
        return Evaluation(
            before=measurement(self._making.source_bytes, facts.bits_per_weight, scored=self._base, speed=source_speed),
            after=after(made, compared, speed),
            text=EvaluationText(
                name=self._text.name,
                sha256=self._text.sha256,
                chunks=self._base.chunks,
                chunk_tokens=self._making.chunk_tokens,
                positions=self._base.positions,
            ),
            bench=Bench(
                processor=processor_name(),
                threads=self._bench.threads,
                prompt_tokens=self._prompt_tokens,
                answer_tokens=ANSWER_TOKENS,
                repeats=REPEATS * ROUNDS,
            ),
        )

    def compare(self, made: MadeFile) -> Compared:
        """A model's distance from the source. Raises InvalidRequest, EngineError."""
        self.read_source()
        step = Compare(model=str(made.path), base=str(self._base_path), threads=self._bench.threads)
        return self._bench.do(f"Comparing {made.type} with the source", step, Compared)

    def speeds(self, paths: Mapping[str, Path]) -> dict[str, Speed]:
        """How fast each is, timed in turns. Raises EngineError, LoadFailed."""
        runs: dict[str, list[Speed]] = {name: [] for name in paths}
        for turn in range(ROUNDS):
            for name, path in paths.items():
                step = MeasureSpeed(
                    model=str(path),
                    prompt_tokens=self._prompt_tokens,
                    answer_tokens=ANSWER_TOKENS,
                    repeats=REPEATS,
                    threads=self._bench.threads,
                )
                words = f"Timing {name} ({turn + 1} of {ROUNDS})"
                runs[name].append(self._bench.do(words, step, Speed))
        return {name: _median(found) for name, found in runs.items()}

    @property
    def _prompt_tokens(self) -> int:
        """A chunk, or what an answer leaves of a short context."""
        context = self._making.context_tokens
        return max(1, min(self._making.chunk_tokens, context - ANSWER_TOKENS)) if context else CHUNK_TOKENS

    @property
    def _base_path(self) -> Path:
        return self._bench.path("base.logprobs")

    @cached_property
    def _base(self) -> BaseScored:
        step = ScoreBase(
            model=str(self._making.gguf),
            text=str(self._bench.keep_text("evaluation.txt", self._text.text, self._text.name)),
            target=str(self._base_path),
            chunks=self._chunks,
            chunk_tokens=self._making.chunk_tokens,
            threads=self._bench.threads,
        )
        return self._bench.do("Reading the text with the source", step, BaseScored)


def after(made: MadeFile, compared: Compared, speed: Speed) -> Measurement:
    """What was measured of a result."""
    return measurement(made.quantized.size_bytes, made.quantized.bits_per_weight, scored=compared, speed=speed)


def _median(runs: Sequence[Speed]) -> Speed:
    return Speed(
        prefill_rate=statistics.median([run.prefill_rate for run in runs]),
        decode_rate=statistics.median([run.decode_rate for run in runs]),
        load_seconds=statistics.median([run.load_seconds for run in runs]),
        peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
    )
