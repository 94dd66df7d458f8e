"""The contract of engines on the real MLC LLM, where it is installed; its own mock stands for a compiled model."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.engines.base import Engine
from localllm.engines.mlc.kind import Mlc
from localllm.engines.plan import LoadPlan
from localllm.inference.pipelined import PipelinedEngine
from tests.engines.contract import EngineContract, ask
from tests.engines.mlc_fake.model import write_model

if importlib.util.find_spec("mlc_llm") is None:
    pytest.skip("MLC LLM is not installed; only its own project has its packages", allow_module_level=True)


class TestTheRealOne(EngineContract):
    """The contract."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        plan = LoadPlan(engine="mlc", path=str(write_model(tmp_path / "model")), options={"model_lib": "mock://echo"})
        engine = PipelinedEngine(Mlc().load(plan, lambda _: None))
        yield engine
        engine.close()

    def test_a_known_prefix_is_not_read_again(self, engine: Engine) -> None:
        """It is: MLC's cache is one for all clients, and off where nobody asks for it."""
        answers = [ask(engine, "a prompt that is long enough to be worth keeping") for _ in range(2)]
        assert [answer.usage.cached_tokens for answer in answers if answer.usage is not None] == [0, 0]
