"""Gathering deltas."""

import asyncio
import time

import pytest

from localllm.tui.stream import INTERVAL_SECONDS, TextStream

pytestmark = pytest.mark.anyio


class Screen:
    """Notes what is shown; `gate` makes drawing wait."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.gate: asyncio.Event | None = None

    async def show(self, text: str) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.shown.append(text)
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        self.at_once -= 1


async def test_the_first_text_is_shown_at_once_and_the_next_ones_together() -> None:
    screen = Screen()
    stream = TextStream(screen.show)
    stream.write("a")
    while not screen.shown:
        await asyncio.sleep(0.001)
    for letter in "bcdef":
        stream.write(letter)
        await asyncio.sleep(0)
    while len(screen.shown) == 1:
        await asyncio.sleep(0.005)
    assert screen.shown == ["a", "bcdef"]
    await stream.close()


async def test_drawing_happens_about_ten_times_a_second() -> None:
    screen = Screen()
    stream = TextStream(screen.show)
    started = time.monotonic()
    while time.monotonic() - started < 4 * INTERVAL_SECONDS:
        stream.write("x")
        await asyncio.sleep(0.001)
    await stream.close()
    most = (time.monotonic() - started) / INTERVAL_SECONDS + 2  # the first at once, and the rest on close
    assert 2 <= len(screen.shown) <= most


async def test_closing_shows_the_rest_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localllm.tui.stream.INTERVAL_SECONDS", 3600)
    screen = Screen()
    stream = TextStream(screen.show)
    stream.write("a")
    while not screen.shown:
        await asyncio.sleep(0.001)
    stream.write("rest")
    async with asyncio.timeout(10):
        await stream.close()
    assert screen.shown == ["a", "rest"]


async def test_two_are_never_drawn_at_a_time() -> None:
    screen = Screen()
    screen.gate = asyncio.Event()
    stream = TextStream(screen.show)
    stream.write("a")
    while not screen.shown:
        await asyncio.sleep(0.001)
    stream.write("b")
    closing = asyncio.create_task(stream.close())
    for _ in range(10):
        await asyncio.sleep(0)
    assert screen.shown == ["a"]
    screen.gate.set()
    await closing
    assert screen.shown == ["a", "b"]
    assert screen.most_at_once == 1


async def test_an_error_of_drawing_comes_out_on_close() -> None:
    async def fail(text: str) -> None:
        raise ValueError(text)

    stream = TextStream(fail)
    stream.write("a")
    with pytest.raises(ValueError, match="a"):
        await stream.close()


async def test_closing_a_stream_without_text_is_nothing() -> None:
    screen = Screen()
    await TextStream(screen.show).close()
    assert screen.shown == []
