"""Errors: a line in the transcript, and the terminal stays."""

import asyncio

import pytest

from localllm.errors import ContextOverflow, LoadFailed, ServiceClosed, WorkerDied
from localllm.types import PromptProgress, TextDelta
from tests.marks import slow
from tests.tui.fakes import FakeService, says
from tests.tui.pilots import driving

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "line"),
    [
        slow(WorkerDied("the model's process ended"), "The model's process ended. Ctrl+R tries again."),
        slow(
            ContextOverflow("the prompt has 1200 tokens; the context holds 1000"),
            "The prompt has 1200 tokens; the context holds 1000. Or /clear starts a new chat.",
        ),
        (ValueError("[/oops]"), "Unexpected, please report it: ValueError('[/oops]'). Ctrl+R tries again."),
    ],
)
async def test_an_error_is_a_line_and_the_chat_goes_on(error: Exception, line: str) -> None:
    service = FakeService([PromptProgress(0, 1), TextDelta("so far"), error], says("recovered"))
    async with driving(service) as user:
        await user.ask("q")
        await user.until(lambda: user.errors)
        assert user.errors == [line]
        await user.shows("so far")
        await user.done()
        await user.press("ctrl+r")
        await user.shows("recovered")
        assert user.errors == []


@pytest.mark.slow
async def test_an_error_before_the_first_word_leaves_no_empty_answer() -> None:
    service = FakeService([WorkerDied("gone")], says("recovered"))
    async with driving(service) as user:
        await user.ask("q")
        await user.until(lambda: user.errors)
        await user.done()
        await user.press("ctrl+r")
        await user.shows("recovered")
        assert "Replaced" not in user.text
        assert len(user.chat.query("Answer")) == 1


async def test_a_fault_in_drawing_is_a_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("cannot draw")

    monkeypatch.setattr("localllm.tui.body.Body._show", fail)
    async with driving(FakeService(says("text"))) as user:
        await user.ask("q")
        await user.until(lambda: user.errors)
        assert "cannot draw" in user.errors[0]
        assert user.app.is_running


async def test_an_answer_that_breaks_off_says_so() -> None:
    async with driving(FakeService([PromptProgress(0, 1), TextDelta("half")])) as user:
        await user.ask("q")
        await user.until(lambda: user.errors == ["The answer broke off without a reason. Ctrl+R tries again."])


async def test_a_load_that_failed_can_be_tried_again() -> None:
    service = FakeService(loading=[LoadFailed("the file [x] is damaged")])
    async with driving(service, is_loaded=False) as user:
        await user.until(lambda: user.errors == ["The file [x] is damaged. Ctrl+R tries again."])
        await user.until(lambda: "Retry" in user.footer)
        await user.press("ctrl+r")
        await user.until(lambda: "context" in user.status)
        assert user.errors == []
        await user.until(lambda: "Retry" not in user.footer)


@pytest.mark.slow
async def test_a_load_that_fails_under_a_question_is_said_once() -> None:
    gate = asyncio.Event()
    service = FakeService(loading=[gate, LoadFailed("damaged"), LoadFailed("damaged")])
    async with driving(service, is_loaded=False) as user:
        await user.ask("early")
        await user.until(lambda: user.chat._answering)
        gate.set()
        await user.done()
        assert user.errors == ["Damaged. Ctrl+R tries again."]
        await user.press("ctrl+r")
        await user.shows("hello")


@pytest.mark.slow
async def test_a_service_that_closes_first_is_a_line() -> None:
    async with driving(FakeService([ServiceClosed("the service is shutting down")])) as user:
        await user.ask("q")
        await user.until(lambda: user.errors == ["The service is shutting down. Ctrl+R tries again."])
