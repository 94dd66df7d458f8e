"""Where the model runs, and what was given up to load it."""

import msgspec
import pytest

from localllm.tui.placement import placement_words
from localllm.types import ModelInfo
from tests.marks import slow
from tests.tui.fakes import ENGINE, FakeService
from tests.tui.pilots import driving

GIVEN_UP = "CUDA0 could not hold 31 layers; 15 are there"


@pytest.mark.anyio
async def test_what_was_given_up_is_said_once_it_is_loaded() -> None:
    async with driving(FakeService(fallbacks=(GIVEN_UP,))) as user:
        await user.shows(GIVEN_UP)
        assert "loaded with less, /why" in user.status
        assert user.errors == []


@pytest.mark.anyio
@pytest.mark.slow
async def test_nothing_is_said_where_nothing_was() -> None:
    async with driving(FakeService()) as user:
        assert "less" not in user.status
        assert len(user.chat.query(".told")) == 0


@pytest.mark.anyio
@pytest.mark.parametrize("size", [(100, 30), slow((60, 24))])
async def test_why_says_where_it_runs_and_why(size: tuple[int, int]) -> None:
    async with driving(FakeService(reasons=("llama.cpp here has no [gpu] back end",)), size=size) as user:
        for _ in range(2):  # the second takes the place of the first
            await user.ask("/why")
            await user.shows("fake:1b runs on cpu by fake")
            await user.shows("no [gpu] back end")
        assert len(user.chat.query(".told")) == 1


def test_the_words() -> None:
    model = ModelInfo(id="m", state="ready", created=0, engine=msgspec.structs.replace(ENGINE, max_jobs=4))
    assert placement_words(model) == ["m runs on cpu by fake (1), 1 thread, 4 answers at once."]
    whole = msgspec.structs.replace(model, reasons=("it is fast",), fallbacks=("Less context.",))
    assert placement_words(whole)[1:] == ["It is fast.", "Less context."]
    assert placement_words(msgspec.structs.replace(model, engine=None)) == ["m is not loaded."]
