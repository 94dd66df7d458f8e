"""Measuring speed: what is counted, not how fast it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.engines.base import Batch, Logits, Runner
from localllm.errors import InvalidRequest, LoadFailed
from localllm.quantize.quality.speed import WARM_UP_TOKENS, measure_speed, normal_tokens, rates
from localllm.quantize.steps import MeasureSpeed, Progress
from tests.quantize.quality.scoring import running, silent


class Ticking:
    """A runner whose decodes take as long as they are told to, by a clock of their own."""

    def __init__(self, runner: Runner, seconds: Callable[[int, int], float]) -> None:
        self._runner = runner
        self._seconds = seconds
        self.info, self.tokenizer, self.trim = runner.info, runner.tokenizer, runner.trim
        self.now = 0.0
        self.decodes: list[tuple[int, int, int]] = []  # position, rows, outputs

    def decode(self, batch: Batch) -> Logits:
        self.decodes.append((int(batch.positions[0]), batch.size, batch.outputs))
        self.now += self._seconds(len(self.decodes), batch.size)
        return self._runner.decode(batch)


def step(**fields: object) -> MeasureSpeed:
    values = {"model": "", "prompt_tokens": 40, "answer_tokens": 5, "repeats": 3, "threads": 1}
    return MeasureSpeed(**values | fields)  # type: ignore[arg-type]


def test_prompts_and_answers_are_timed_apart(tiny_model: Path) -> None:
    with running(tiny_model) as runner:
        ticking = Ticking(runner, lambda _, rows: 2.0 if rows > 1 else 0.25)
        assert rates(ticking, step(), silent, lambda: ticking.now) == (20.0, 4.0)  # type: ignore[arg-type]


def test_every_repeat_reads_all_and_answers_behind_it(tiny_model: Path) -> None:
    with running(tiny_model) as runner:
        ticking = Ticking(runner, lambda *_: 1.0)
        rates(ticking, step(repeats=2), silent, lambda: ticking.now)  # type: ignore[arg-type]
    warm_up = [(0, 40, 1), *((40 + place, 1, 1) for place in range(WARM_UP_TOKENS))]
    repeat = [(0, 40, 1), *((40 + place, 1, 1) for place in range(5))]
    assert ticking.decodes == warm_up + repeat * 2


def test_the_warm_up_does_not_count_and_one_slow_repeat_decides_nothing(tiny_model: Path) -> None:
    with running(tiny_model) as runner:
        ticking = Ticking(runner, lambda number, _: 99.0 if number < 10 else 1.0)  # 3 and 6 decodes
        assert rates(ticking, step(), silent, lambda: ticking.now) == (40.0, 1.0)  # type: ignore[arg-type]


def test_a_prompt_longer_than_a_batch_is_read_in_pieces() -> None:
    """The echo takes 128 tokens at once, and refuses rows that do not continue."""
    with running(Path(), engine="echo") as runner:
        ticking = Ticking(runner, lambda *_: 1.0)
        prefill, decode = rates(ticking, step(prompt_tokens=257), silent, lambda: ticking.now)  # type: ignore[arg-type]
    assert [rows for _, rows, _ in ticking.decodes[:3]] == [86, 86, 85]
    assert [outputs for _, _, outputs in ticking.decodes[:3]] == [0, 0, 1]
    assert (prefill, decode) == (257 / 3, 1.0)


def test_tokens_stand_for_text_and_are_always_the_same(tiny_model: Path) -> None:
    with running(tiny_model) as runner:
        found = normal_tokens(runner.tokenizer, 400)
        assert len(set(found.tolist())) > 100
        assert all(runner.tokenizer.piece(token) for token in found.tolist())
        assert found.tolist() == normal_tokens(runner.tokenizer, 400).tolist()


def test_a_real_measurement_has_all_figures(tiny_model: Path) -> None:
    told: list[Progress] = []
    found = measure_speed(step(model=str(tiny_model), repeats=2, threads=None), told.append)
    assert min(found.prefill_rate, found.decode_rate, found.load_seconds) > 0
    assert found.peak_memory_bytes > tiny_model.stat().st_size
    assert [(each.done, each.total) for each in told] == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("field", ["prompt_tokens", "answer_tokens", "repeats"])
def test_too_little_to_measure_is_refused(tiny_model: Path, field: str) -> None:
    with pytest.raises(InvalidRequest, match=field) as caught:
        measure_speed(step(model=str(tiny_model), **{field: 0}), silent)
    assert caught.value.param == field


def test_more_than_the_context_holds_is_refused(tiny_model: Path) -> None:
    with pytest.raises((InvalidRequest, LoadFailed), match="1024"):
        measure_speed(step(model=str(tiny_model), prompt_tokens=1024), silent)
