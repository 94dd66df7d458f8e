"""Server-sent events (WHATWG HTML, section 9.2): a response that ends its job when the client leaves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Receive, Scope, Send

from localllm.api.disconnect import disconnected

PING_SECONDS = 10.0
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies pass each event on at once
]


def event(data: bytes) -> bytes:
    """One event without a name."""
    return b"data: " + data + b"\n\n"


def comment(text: str) -> bytes:
    """A line that clients skip."""
    return f": {text}\n\n".encode()


class EventStream:
    """Sends `chunks` as they come, and a comment when there was none for a while (a long prompt, a loading
    model), so that no proxy or client takes the silence for an end."""

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self._chunks = chunks
        self._is_fresh = False  # something was sent since the last look

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything; stop early, and close `chunks`, when the client leaves."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        pump = asyncio.ensure_future(self._pump(send))
        others = [asyncio.ensure_future(disconnected(receive)), asyncio.ensure_future(self._ping(send))]
        try:
            await asyncio.wait({pump, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, *others):
                task.cancel()
            results = await asyncio.gather(pump, *others, return_exceptions=True)
        fault = results[0]
        if isinstance(fault, Exception) and not isinstance(fault, OSError):  # OSError: the client is gone
            raise fault

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                self._is_fresh = True
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ping(self, send: Send) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            if not self._is_fresh:
                await send({"type": "http.response.body", "body": PING, "more_body": True})
            self._is_fresh = False
