"""LoRA adapters: they act as weights merged by hand would, and can be switched off without a trace."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from localllm.engines.base import AdaptingRunner, Logits, Runner
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.errors import LoadFailed
from localllm.types import AdapterUse
from tests.engines.runner_contract import PROMPT, is_close, read
from tests.tiny import (
    ADAPTER_ALPHA,
    ADAPTER_RANK,
    WIDTH,
    Weights,
    adapter_weights,
    write_tiny_adapter,
    write_tiny_model,
)


def load(path: Path, adapters: dict[str, Path]) -> Runner:
    paths = {name: str(adapter) for name, adapter in adapters.items()}
    plan = LoadPlan(engine="llama_cpp", path=str(path), max_jobs=2, context_tokens=256, threads=1, adapters=paths)
    return load_runner(plan, lambda _: None)


@pytest.fixture
def runner(tiny_model: Path, tmp_path: Path) -> Generator[Runner, None, None]:
    paths = {name: write_tiny_adapter(tmp_path / f"{name}.gguf", seed=seed) for name, seed in (("a", 1), ("b", 2))}
    loaded = load(tiny_model, paths)
    yield loaded
    loaded.close()


def logits_with(runner: Runner, *uses: AdapterUse) -> Logits:
    assert isinstance(runner, AdaptingRunner)
    runner.use_adapters(uses)
    runner.trim(0, 0)
    return read(runner, 0, 0, PROMPT)


def _change(name: str, seed: int, scale: float) -> Weights:
    a, b = adapter_weights(seed)[name]
    change: Weights = np.float32(scale * ADAPTER_ALPHA / ADAPTER_RANK) * (b @ a)
    return change


def merged(path: Path, *uses: tuple[int, float]) -> Logits:
    """Logits of a file with W + scale · (alpha / rank) · B·A in place of W, for adapters by seed and scale."""
    added = {name: np.zeros((WIDTH, WIDTH), np.float32) for name in adapter_weights()}
    for seed, scale in uses:
        for name in added:
            added[name] += _change(name, seed, scale)
    alone = load(write_tiny_model(path / "merged.gguf", added=added), {})
    logits = read(alone, 0, 0, PROMPT)
    alone.close()
    return logits


def test_it_has_the_adapters_of_the_plan(runner: Runner, tiny_model: Path) -> None:
    assert isinstance(runner, AdaptingRunner)
    assert runner.adapters == ("a", "b")


@pytest.mark.parametrize("scale", [1.0, 0.5, -0.25])
def test_an_adapter_acts_like_merged_weights(runner: Runner, tmp_path: Path, scale: float) -> None:
    expected = merged(tmp_path, (1, scale))
    assert not is_close(logits_with(runner), expected)
    assert is_close(logits_with(runner, AdapterUse("a", scale)), expected)


def test_two_adapters_add_up(runner: Runner, tmp_path: Path) -> None:
    expected = merged(tmp_path, (1, 0.5), (2, 0.75))
    assert is_close(logits_with(runner, AdapterUse("a", 0.5), AdapterUse("b", 0.75)), expected)


def test_switched_off_nothing_is_left(runner: Runner) -> None:
    plain = logits_with(runner)
    assert not is_close(logits_with(runner, AdapterUse("b")), plain)
    assert np.array_equal(logits_with(runner), plain)


@pytest.mark.parametrize("damage", ["missing", "model", "truncated", "text"])
def test_a_bad_adapter_is_refused_by_name(tiny_model: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.gguf"
    good = write_tiny_adapter(tmp_path / "good.gguf").read_bytes()
    data = {"model": tiny_model.read_bytes(), "truncated": good[:-500], "text": b"hello" * 100}.get(damage)
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(LoadFailed, match=r"adapter pirate from .*bad\.gguf"):
        load(tiny_model, {"good": tmp_path / "good.gguf", "pirate": path})
