"""What becomes of a model that cannot be loaded as planned."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from localllm.engines.plan import LoadPlan
from localllm.errors import LoadFailed, LocalLLMError
from localllm.runtime.served import Ladder, Rung, ServedModel
from localllm.types import ModelDefaults, Sampling
from tests.serving import local_model

pytestmark = pytest.mark.anyio
PLUGIN = Path(__file__).parent.parent / "plugin"

BAD, GOOD = "not a rate", ""  # of the echo engine


def plan(path: str) -> LoadPlan:
    return LoadPlan(engine="echo", path=path)


def down(*paths: str) -> Ladder:
    """A ladder whose rungs have these paths."""
    left = list(paths)

    def next_rung(tried: LoadPlan, error: LocalLLMError) -> Rung:
        assert tried.path == BAD
        assert isinstance(error, LoadFailed)
        if not left:
            raise error
        return Rung(plan=msgspec.structs.replace(tried, path=left.pop(0)), words=f"{len(left)} left")

    return next_rung


async def test_it_goes_down_until_it_loads_and_says_every_step() -> None:
    heard: list[str] = []
    served = ServedModel(
        local_model("echo"),
        plan(BAD),
        reasons=("because",),
        ladder=down(BAD, BAD, GOOD),
        on_fallback=heard.append,
    )
    try:
        worker = await served.worker()
        assert (served.info.fallbacks, served.info.reasons) == (("2 left", "1 left", "0 left"), ("because",))
        assert heard == list(served.info.fallbacks)
        await worker.close()
        again = await served.worker()  # by the plan that could be loaded: nothing is tried again
        assert again.pid != worker.pid
        assert len(heard) == 3
    finally:
        await served.unload()


async def test_defaults_that_the_engine_does_not_honour_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    defaults = ModelDefaults(sampling=Sampling(presence_penalty=0.5, temperature=1.0))
    model = msgspec.structs.replace(local_model("echo"), defaults=defaults)
    served = ServedModel(model, LoadPlan(engine="backwards", path=""), reasons=("because",))
    try:
        await served.worker()
        reason, left_out = served.info.reasons
        assert reason == "because"
        assert left_out == "the model's own choice of presence_penalty is left out: backwards does not honour it"
    finally:
        await served.unload()


async def test_without_a_rung_the_last_error_stands() -> None:
    served = ServedModel(local_model("echo"), plan(BAD), ladder=down(BAD))
    with pytest.raises(LoadFailed, match="a number of steps"):
        await served.worker()
    assert (served.info.state, len(served.info.fallbacks)) == ("unloaded", 1)


async def test_it_can_be_called_off_on_the_way_down() -> None:
    reached = asyncio.Event()
    served = ServedModel(
        local_model("echo"), plan(BAD), ladder=down(*[BAD] * 99), on_fallback=lambda _words: reached.set()
    )
    load = asyncio.create_task(served.worker())
    await reached.wait()
    await served.unload()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert served.info.state == "unloaded"
