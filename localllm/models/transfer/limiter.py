"""A limit on bytes a second that all connections share."""

import threading
import time

_BURST_SECONDS = 0.25


class Limiter:
    """A bucket of tokens, one for each byte; None: no limit."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._rate = bytes_per_second
        self._taking = threading.Lock()
        self._free_at = time.monotonic()  # when the bucket has nothing owing

    def portion(self, most_bytes: int, connections: int) -> int:
        """How many bytes a connection should take at once, so that none waits long for the others."""
        if self._rate is None:
            return most_bytes
        return min(most_bytes, max(int(self._rate * _BURST_SECONDS / connections), 1024))

    def take(self, count: int, stop: threading.Event) -> None:
        """Account for bytes that have come; waits until more may come, or until `stop`."""
        if self._rate is None:
            return
        with self._taking:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - _BURST_SECONDS) + count / self._rate
            wait_seconds = self._free_at - now
        if wait_seconds > 0:
            stop.wait(wait_seconds)
