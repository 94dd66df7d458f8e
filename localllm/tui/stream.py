"""Gathers what a model says and shows it about ten times a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

INTERVAL_SECONDS = 0.1  # drawing every delta took several times the CPU, and the model needs it


class TextStream:
    """Calls `show` with text as it gathers; never twice at a time."""

    def __init__(self, show: Callable[[str], Awaitable[None]]) -> None:
        self._show = show
        self._gathered: list[str] = []
        self._has_text = asyncio.Event()
        self._is_closed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def write(self, text: str) -> None:
        """Add text; the first is shown at once."""
        self._gathered.append(text)
        self._has_text.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Show what is left."""
        self._is_closed.set()
        self._has_text.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._gathered or not self._is_closed.is_set():
            await self._has_text.wait()
            self._has_text.clear()
            text = "".join(self._gathered)
            self._gathered.clear()
            started = time.monotonic()
            await self._show(text)
            # Slow to draw: leave the loop at least as much time for keys as drawing takes.
            pause = max(INTERVAL_SECONDS, time.monotonic() - started)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_closed.wait(), pause)
