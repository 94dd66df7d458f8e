"""Whether a connection still brings something: silence while it is listened to, not while we do other things."""

import time
from collections.abc import Generator
from contextlib import contextmanager

_ENOUGH_BYTES = 16 * 1024  # less than that in the allowed time is as good as nothing


class Pulse:
    """Written by one thread, read by another."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._silent_seconds = 0.0
        self._bytes = 0
        self._since: float | None = None

    @property
    def is_stalled(self) -> bool:
        """Whether too little came for too long."""
        since = self._since
        running = time.monotonic() - since if since is not None else 0.0
        return self._silent_seconds + running > self._stall_seconds

    def reset(self) -> None:
        """A new attempt."""
        self._silent_seconds, self._bytes = 0.0, 0

    def beat(self, count: int) -> None:
        """So many bytes came."""
        self._bytes += count
        if self._bytes >= _ENOUGH_BYTES:
            self.reset()
            if self._since is not None:
                self._since = time.monotonic()

    @contextmanager
    def listening(self) -> Generator[None, None, None]:
        """The time in this block counts."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            since, self._since = self._since, None
            self._silent_seconds += time.monotonic() - since
