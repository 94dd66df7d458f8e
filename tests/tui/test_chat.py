"""Asking, and what shows of the answer."""

import asyncio

import pytest

from localllm.types import LoadProgress, Message, PromptProgress, Queued, Usage
from tests.marks import slow
from tests.tui.fakes import FakeService, pauses, says, usage
from tests.tui.pilots import driving

pytestmark = pytest.mark.anyio


async def test_the_first_paint_does_not_wait_for_the_model() -> None:
    loaded = asyncio.Event()
    service = FakeService(loading=[LoadProgress(0.4), loaded])
    async with driving(service, is_loaded=False) as user:
        await user.shows("loading 40%")
        assert "F1 help" in user.text
        assert "fake:1b" in user.status
        await user.type("hi")
        assert user.prompt.text == "hi"
        loaded.set()
        await user.until(lambda: user.status == "fake:1b · fake/cpu · context 0/1.0k (0%)")


@pytest.mark.slow
async def test_a_question_asked_while_the_model_loads_is_answered_after() -> None:
    loaded = asyncio.Event()
    service = FakeService(loading=[LoadProgress(0.4), loaded])
    async with driving(service, is_loaded=False) as user:
        await user.ask("early")
        await user.shows("early")
        assert service.requests == []
        loaded.set()
        await user.shows("hello")
        assert service.requests[0].messages == (Message("user", "early"),)


async def test_an_answer_and_what_it_cost() -> None:
    service = FakeService(says("Paris ", "is **it**.", cost=usage(prompt=300, completion=11)))
    async with driving(service, system="Be brief.") as user:
        await user.ask("where?")
        await user.shows("Paris is it.")
        await user.done()
        assert user.status == "fake:1b · fake/cpu · context 311/1.0k (31%) · 10.0 tok/s · first token 0.25 s"
        assert service.requests[0].messages == (Message("system", "Be brief."), Message("user", "where?"))
        await user.ask("and?")
        await user.until(lambda: len(service.requests) == 2)
        assert service.requests[1].messages[1:] == (
            Message("user", "where?"),
            Message("assistant", "Paris is **it**."),
            Message("user", "and?"),
        )


async def test_reading_a_prompt_is_shown_in_numbers() -> None:
    gate = asyncio.Event()
    service = FakeService([PromptProgress(0, 300), PromptProgress(128, 300), gate, *says("done")])
    async with driving(service) as user:
        await user.ask("long")
        await user.until(lambda: user.status.startswith("reading 128/300 · fake:1b"))
        assert "context 300/1.0k (30%)" in user.status
        gate.set()
        await user.done()
        assert "reading" not in user.status


@pytest.mark.parametrize(("position", "shown"), [(3, "waiting, 2 before you"), slow(1, "waiting, you are next")])
async def test_the_place_in_the_queue_is_shown(position: int, shown: str) -> None:
    gate = asyncio.Event()
    service = FakeService([PromptProgress(0, 300), Queued(position), gate, *says("done")])
    async with driving(service) as user:
        await user.ask("now")
        await user.until(lambda: user.status.startswith(f"{shown} · "))
        gate.set()
        await user.done()
        assert "waiting" not in user.status


async def test_text_shows_while_it_comes() -> None:
    gate = asyncio.Event()
    service = FakeService(pauses("first half", gate, " second half"))
    async with driving(service) as user:
        await user.ask("go")
        await user.shows("first half")
        assert user.status.startswith("answering")
        assert "tok/s" not in user.status  # no number of another answer
        gate.set()
        await user.shows("first half second half")


@pytest.mark.parametrize(
    ("cost", "note"),
    [
        slow(usage(prompt=10, completion=20), "Cut here: the answer reached its longest allowed length."),
        (usage(prompt=900, completion=100), "Cut here: the context of 1000 tokens is full. /clear starts a new chat."),
    ],
)
async def test_an_answer_that_was_cut_says_why(cost: Usage, note: str) -> None:
    async with driving(FakeService(says("long", reason="length", cost=cost))) as user:
        await user.ask("q")
        await user.shows(note)
        assert user.errors == []


@pytest.mark.slow
async def test_an_empty_answer_says_so() -> None:
    async with driving(FakeService(says())) as user:
        await user.ask("q")
        await user.shows("The model ended its answer without a word.")


async def test_web_links_alone_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    from textual.widgets import Markdown

    opened: list[str] = []
    async with driving(FakeService(says("[a](https://x.test) [b](ftp://x.test)"))) as user:
        monkeypatch.setattr(user.app, "open_url", opened.append)
        await user.ask("q")
        await user.shows("a b")
        page = user.chat.query(Markdown).last()
        for href in ("ftp://x.test", "file:///etc/passwd", "https://x.test"):
            page.post_message(Markdown.LinkClicked(page, href))
        await user.until(lambda: opened)
        assert opened == ["https://x.test"]
