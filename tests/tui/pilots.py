"""Drives the app in a test: waits for what shows, types, reads the screen."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Static

from localllm.service import ChatService
from localllm.tui.app import ChatApp
from localllm.tui.chat_screen import ChatScreen
from localllm.tui.prompt import Prompt
from localllm.tui.status import StatusLine
from localllm.tui.transcript import Transcript

PATIENCE_SECONDS = 20


class Driver:
    """A running app and what a user sees of it."""

    def __init__(self, app: ChatApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot
        assert isinstance(app.screen, ChatScreen)
        self.chat = app.screen
        self.prompt = self.chat.query_one(Prompt)
        self.transcript = self.chat.query_one(Transcript)

    @property
    def rows(self) -> list[str]:
        """The screen, row by row."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def status(self) -> str:
        return self.chat.query_one(StatusLine).render().plain

    @property
    def footer(self) -> str:
        return self.rows[-1]

    @property
    def hint(self) -> str:
        return str(self.prompt.border_subtitle or "")

    @property
    def errors(self) -> list[str]:
        """The error lines of the transcript."""
        return [str(note.content) for note in self.chat.query(".error").results(Static) if note.display]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"still waiting; the screen shows:\n{self.text}"
            await asyncio.sleep(0.02)

    async def shows(self, text: str) -> None:
        """Wait until the screen shows it."""
        await self.until(lambda: text in self.text)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Put text where the cursor is, in one go."""
        assert self.app.focused is not None
        self.app.focused.post_message(Paste(text))
        await self.pilot.pause()

    async def ask(self, text: str) -> None:
        self.prompt.post_message(Paste(text))
        await self.pilot.press("enter")

    async def done(self) -> None:
        """Wait until no answer runs."""
        await self.until(lambda: self.chat._answering is None)


@asynccontextmanager
async def driving(
    service: ChatService, *, size: tuple[int, int] = (100, 30), system: str = "", is_loaded: bool = True
) -> AsyncGenerator[Driver, None]:
    """The app, running; by default from when the model is loaded."""
    app = ChatApp(service, system=system)
    async with app.run_test(size=size) as pilot:
        driver = Driver(app, pilot)
        await driver.shows("^Q Quit")
        if is_loaded:
            await driver.until(lambda: "context" in driver.status)
        yield driver
