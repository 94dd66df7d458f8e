"""Stopping an answer, and what stays."""

import asyncio

import pytest

from localllm.types import Message, PromptProgress
from tests.tui.fakes import FakeService, pauses, says
from tests.tui.pilots import driving

pytestmark = pytest.mark.anyio


async def test_escape_keeps_what_has_come_and_the_draft() -> None:
    service = FakeService(pauses("partial text", asyncio.Event()), says("next"))
    async with driving(service) as user:
        await user.ask("go")
        await user.shows("partial text")
        await user.type("my draft")
        await user.press("escape")
        await user.shows("Stopped.")
        assert "partial text" in user.text
        assert user.prompt.text == "my draft"
        assert service.closed_chats == 1
        assert "answering" not in user.status
        await user.press("enter")
        await user.shows("next")
        assert service.requests[1].messages == (
            Message("user", "go"),
            Message("assistant", "partial text"),
            Message("user", "my draft"),
        )


@pytest.mark.slow
async def test_ctrl_c_stops_and_never_quits() -> None:
    service = FakeService(pauses("partial", asyncio.Event()))
    async with driving(service) as user:
        await user.ask("go")
        await user.shows("partial")
        await user.press("ctrl+c")
        await user.shows("Stopped.")
        await user.press("ctrl+c", "escape")
        assert user.app.is_running
        assert not service.is_closed


@pytest.mark.slow
async def test_stopping_before_the_first_word() -> None:
    service = FakeService([PromptProgress(0, 1), asyncio.Event()], says("next"))
    async with driving(service) as user:
        await user.ask("one")
        await user.until(lambda: service.requests)
        await user.press("escape")
        await user.shows("Stopped before the first word")
        await user.ask("two")
        await user.shows("next")
        assert service.requests[1].messages == (Message("user", "two"),)


@pytest.mark.slow
async def test_enter_while_an_answer_runs_keeps_the_draft_and_hints() -> None:
    gate = asyncio.Event()
    service = FakeService(pauses("slow", gate))
    async with driving(service) as user:
        await user.ask("go")
        await user.shows("slow")
        await user.ask("next one")
        assert user.prompt.text == "next one"
        assert user.hint.startswith("Still answering")
        assert len(service.requests) == 1
        gate.set()
        await user.done()
        assert user.hint == ""
