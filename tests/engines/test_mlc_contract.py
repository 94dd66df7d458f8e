"""The contract of engines over MLC's pipeline, on a fake of its package; test_mlc_real.py has the real one.

The fake has the surface of MLC LLM and no model; what passes here on it says nothing of MLC itself.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.engines.base import Engine
from localllm.engines.mlc.kind import Mlc
from localllm.engines.plan import LoadPlan
from localllm.inference.pipelined import PipelinedEngine
from tests.engines.contract import EngineContract, ask
from tests.engines.mlc_fake.install import fake_mlc  # noqa: F401  # a fixture
from tests.engines.mlc_fake.model import write_model

pytest.importorskip("tokenizers")


def loaded(folder: Path, **options: str) -> PipelinedEngine:
    plan = LoadPlan(engine="mlc", path=str(folder), options=options)
    return PipelinedEngine(Mlc().load(plan, lambda _: None))


class TestTheFake(EngineContract):
    """On the fake."""

    @pytest.fixture
    def engine(self, fake_mlc: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Engine]:  # noqa: F811
        engine = loaded(write_model(tmp_path / "model"), model_lib="mock://fake", mode="local")
        yield engine
        engine.close()

    def test_a_known_prefix_is_not_read_again(self, engine: Engine) -> None:
        """It is: MLC's cache is one for all clients, and off where nobody asks for it."""
        answers = [ask(engine, "a prompt that is long enough to be worth keeping") for _ in range(2)]
        assert [answer.usage.cached_tokens for answer in answers if answer.usage is not None] == [0, 0]

    def test_a_seed_matters_too(self, engine: Engine) -> None:
        assert len({ask(engine, "hello", temperature=1.5, seed=seed).text for seed in range(6)}) > 1
