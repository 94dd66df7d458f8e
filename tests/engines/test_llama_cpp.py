"""llama.cpp under the batcher, on a tiny random model."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from localllm.engines.base import Batch, Engine, Runner
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.errors import EngineUnavailable, LoadFailed
from localllm.inference.batcher import Batcher
from tests.engines.contract import EngineContract
from tests.engines.runner_contract import RunnerContract


def plan(path: Path, **fields: object) -> LoadPlan:
    return LoadPlan(**{"engine": "llama_cpp", "path": str(path), "threads": 1, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shared_engine(tiny_model: Path) -> Generator[Engine, None, None]:
    engine = Batcher(
        load_runner(plan(tiny_model, max_jobs=4, context_tokens=512, flash_attention=False), lambda _: None)
    )
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: Engine) -> Engine:
    """Used by all tests in turn, as a server uses it: each must leave it idle."""
    assert not shared_engine.is_busy
    return shared_engine


class TestLlamaCpp(EngineContract):
    """The contract."""


@pytest.fixture(params=[False, True], ids=["plain", "flash"])
def runner(tiny_model: Path, request: pytest.FixtureRequest) -> Generator[Runner, None, None]:
    loaded = load_runner(
        plan(tiny_model, max_jobs=3, context_tokens=512, flash_attention=request.param), lambda _: None
    )
    yield loaded
    loaded.close()


class TestLlamaRunner(RunnerContract):
    """The contract of runners."""


def test_closing_twice_is_fine(tiny_model: Path) -> None:
    loaded = load_runner(plan(tiny_model), lambda _: None)
    loaded.close()
    loaded.close()


def test_progress_is_told(tiny_model: Path) -> None:
    told: list[float] = []
    load_runner(plan(tiny_model), told.append).close()
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "missing"])
def test_a_damaged_file_is_refused_with_a_reason(tiny_model: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.gguf"
    data = {"empty": b"", "truncated": tiny_model.read_bytes()[:200_000], "text": b"hello" * 100}.get(damage)
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(LoadFailed, match=r"bad\.gguf"):
        load_runner(plan(path), lambda _: None)


def test_more_context_than_the_model_knows_is_refused(tiny_model: Path) -> None:
    with pytest.raises(LoadFailed, match="trained for a context of 1024"):
        load_runner(plan(tiny_model, context_tokens=2048), lambda _: None)


def test_more_slots_than_llama_cpp_has_are_refused(tiny_model: Path) -> None:
    with pytest.raises(LoadFailed, match="256"):
        load_runner(plan(tiny_model, context_tokens=256, max_jobs=257), lambda _: None)


def test_an_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(EngineUnavailable, match="echo, executorch, llama_cpp"):
        load_runner(LoadPlan(engine="nope", path=""), lambda _: None)


def test_prompts_read_together_are_rounded_as_each_alone(tiny_model: Path) -> None:
    """Whatever their lengths: the library would leave a row alone, and round it otherwise."""
    runner = load_runner(plan(tiny_model, max_jobs=4, context_tokens=256, flash_attention=False), lambda _: None)
    alone = []
    together = Batch(256)
    for slot, length in enumerate((40, 41, 43, 42)):
        prompt = list(range(10, 10 + length))
        batch = Batch(64)
        batch.add(slot, 0, prompt, logits=1)
        alone.append(runner.decode(batch)[0].copy())
        runner.trim(slot, 0)
        together.add(slot, 0, prompt, logits=1)
    assert np.array_equal(runner.decode(together), np.stack(alone))
    runner.close()
