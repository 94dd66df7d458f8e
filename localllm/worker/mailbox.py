"""What has come for one job and was not yet taken."""

import asyncio
from collections import deque

from localllm.engines.job import Delta
from localllm.errors import LocalLLMError


class Mailbox:
    """One writer, one reader, one event loop."""

    def __init__(self) -> None:
        self._deltas: deque[Delta] = deque()
        self._fault: LocalLLMError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, delta: Delta) -> None:
        """Add a delta."""
        self._deltas.append(delta)
        self._wake()

    def fail(self, error: LocalLLMError) -> None:
        """Nothing more will come; the reader gets the error after what is already here."""
        if self._fault is None:
            self._fault = error
            self._wake()

    async def take(self) -> list[Delta]:
        """Everything that is here, at least one delta. Raises the fault."""
        while not self._deltas:
            if self._fault is not None:
                raise self._fault
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        deltas = list(self._deltas)
        self._deltas.clear()
        return deltas

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
