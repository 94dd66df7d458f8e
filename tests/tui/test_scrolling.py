"""Following the newest text, and not."""

import asyncio

import pytest
from textual.events import MouseScrollUp

from tests.tui.fakes import FakeService, pauses, says
from tests.tui.pilots import Driver, driving

pytestmark = pytest.mark.anyio
LINES = "".join(f"line {i}\n\n" for i in range(40))


def is_at_end(user: Driver) -> bool:
    return user.transcript.scroll_offset.y == user.transcript.max_scroll_y


def halves() -> tuple[FakeService, asyncio.Event]:
    gate = asyncio.Event()
    return FakeService(pauses(LINES, gate, LINES, "the end"), says("second answer")), gate


async def test_the_newest_text_is_followed() -> None:
    service, gate = halves()
    async with driving(service) as user:
        await user.ask("q")
        await user.until(lambda: "line 39" in user.text and is_at_end(user))
        gate.set()
        await user.until(lambda: "the end" in user.text and is_at_end(user))


@pytest.mark.slow
async def test_who_scrolls_away_is_left_alone_until_the_end_is_asked_for() -> None:
    service, gate = halves()
    async with driving(service) as user:
        await user.ask("q")
        await user.shows("line 39")
        await user.press("pageup", "pageup")
        place, height = user.transcript.scroll_offset.y, user.transcript.max_scroll_y
        assert place < height
        gate.set()
        await user.done()
        await user.until(lambda: user.transcript.max_scroll_y > height)
        assert user.transcript.scroll_offset.y == place
        await user.press("ctrl+end")
        await user.shows("the end")


@pytest.mark.slow
async def test_scrolling_back_to_the_end_follows_again() -> None:
    service, gate = halves()
    async with driving(service) as user:
        await user.ask("q")
        await user.shows("line 39")
        await user.press("pageup", "pagedown", "pagedown")
        await user.until(lambda: is_at_end(user))
        gate.set()
        await user.until(lambda: "the end" in user.text and is_at_end(user))


@pytest.mark.slow
async def test_scrolling_where_there_is_nothing_to_scroll_changes_nothing() -> None:
    service, gate = halves()
    async with driving(service) as user:
        before = user.rows
        await user.press("pageup", "pagedown", "pageup")
        assert user.rows == before
        gate.set()
        await user.ask("q")
        await user.until(lambda: "the end" in user.text and is_at_end(user))


@pytest.mark.slow
async def test_the_wheel_scrolls_away_too() -> None:
    service, gate = halves()
    async with driving(service) as user:
        await user.ask("q")
        await user.shows("line 39")
        wheel = MouseScrollUp(user.transcript, 5, 5, 0, -1, 0, False, False, False, 5, 5)
        user.transcript.post_message(wheel)
        await user.until(lambda: not is_at_end(user))
        gate.set()
        await user.done()
        await user.pilot.pause()
        assert not is_at_end(user)


@pytest.mark.slow
async def test_a_new_question_is_scrolled_to() -> None:
    service, gate = halves()
    gate.set()
    async with driving(service) as user:
        await user.ask("q")
        await user.shows("the end")
        await user.done()
        await user.press("pageup")
        await user.ask("another")
        await user.shows("second answer")
