"""Retrying an answer, beginning a new chat, leaving."""

import asyncio

import pytest

from localllm.types import Message, PromptProgress, TextDelta
from tests.scripts import Step
from tests.tui.fakes import FakeService, pauses, says
from tests.tui.pilots import driving

pytestmark = pytest.mark.anyio


@pytest.mark.slow
async def test_retry_takes_the_place_of_the_answer() -> None:
    service = FakeService(says("bad"), says("good"), says("after"))
    async with driving(service) as user:
        await user.ask("q")
        await user.shows("bad")
        await user.done()
        await user.press("ctrl+r")
        await user.shows("good")
        assert "Replaced by the answer below." in user.text
        await user.done()
        await user.ask("more")
        await user.shows("after")
        assert [request.messages for request in service.requests] == [
            (Message("user", "q"),),
            (Message("user", "q"),),
            (Message("user", "q"), Message("assistant", "good"), Message("user", "more")),
        ]


@pytest.mark.slow
async def test_retry_is_refused_while_an_answer_runs_and_where_there_is_none() -> None:
    service = FakeService(pauses("slow", asyncio.Event()))
    async with driving(service) as user:
        await user.until(lambda: "Retry" not in user.footer)
        await user.ask("/retry")
        await user.until(lambda: user.hint == "There is nothing to retry now.")
        await user.ask("go")
        await user.shows("slow")
        await user.until(lambda: "Retry" not in user.footer)
        await user.until(lambda: "Stop" in user.footer)
        await user.press("ctrl+r")
        await user.press("escape")
        await user.shows("Stopped.")
        assert len(service.requests) == 1
        await user.until(lambda: "Retry" in user.footer)
        await user.until(lambda: "Stop" not in user.footer)


async def test_a_new_chat_forgets() -> None:
    service = FakeService(says("first answer"))
    async with driving(service, system="Be brief.") as user:
        await user.ask("q")
        await user.shows("first answer")
        await user.done()
        await user.ask("/clear")
        await user.until(lambda: "first answer" not in user.text)
        assert "F1 help" in user.text
        assert "context 0/1.0k (0%)" in user.status
        await user.until(lambda: "Retry" not in user.footer)
        await user.ask("again")
        await user.until(lambda: len(service.requests) == 2)
        assert service.requests[1].messages == (Message("system", "Be brief."), Message("user", "again"))


@pytest.mark.slow
async def test_a_new_chat_while_answering_stops_the_answer() -> None:
    script: list[Step] = [PromptProgress(0, 1), *[TextDelta(f"- line {i}\n") for i in range(10)], asyncio.Event()]
    service = FakeService(script, says("fresh"))
    async with driving(service) as user:
        await user.ask("q")
        await user.shows("line 9")
        await user.press("ctrl+n")
        await user.until(lambda: service.closed_chats == 1 and "line" not in user.text.replace("new line", ""))
        await user.ask("next")
        await user.shows("fresh")
        assert user.errors == []
        assert service.requests[1].messages == (Message("user", "next"),)


@pytest.mark.slow
async def test_quitting_while_answering_closes_the_service() -> None:
    service = FakeService(pauses("slow", asyncio.Event()))
    async with driving(service) as user:
        await user.ask("q")
        await user.shows("slow")
        await user.ask("/quit")
        await user.until(lambda: not user.app.is_running)
    assert service.closed_chats == 1
    assert service.is_closed
    assert user.app.return_code == 0
