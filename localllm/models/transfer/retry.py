"""When to ask again: growing pauses with jitter, what the server asks for, and an end to it."""

import email.utils
import random
import re
import threading
import time
from collections.abc import Callable

from msgspec import Struct

from localllm.errors import DownloadFailed

RETRIED = {408, 425, 429}
_GAIN_BYTES = 16 * 1024  # what counts as progress: single bytes could be handed out for ever
_SECONDS = re.compile(r"[0-9]{1,9}")


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How long to go on without anything new."""

    attempts: int = 6  # in a row that bring nothing new
    first_seconds: float = 0.5  # the pause after the first; each further one is twice as long
    most_seconds: float = 30.0
    most_asked_seconds: float = 120.0  # the longest Retry-After that is waited for


class Troubled(Exception):  # noqa: N818  not an error yet
    """An attempt failed in a way that another may not; `asked_seconds`: the pause that the server asks for."""

    def __init__(self, words: str, asked_seconds: float | None = None) -> None:
        super().__init__(words)
        self.asked_seconds = asked_seconds


class Stopped(Exception):  # noqa: N818  not an error
    """The transfer ends, or this connection is not needed any more."""


def is_retried(status: int) -> bool:
    """Whether an HTTP status may be another one soon."""
    return status in RETRIED or status >= 500


def read_retry_after(header: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3: seconds or a date), if it can be read."""
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, TypeError, OverflowError, OSError):
        return None


class Patience:
    """Of one connection. `others_bytes` tells what the other ones have brought."""

    def __init__(self, policy: RetryPolicy, stop: threading.Event, others_bytes: Callable[[], int]) -> None:
        self._policy = policy
        self._stop = stop
        self._others_bytes = others_bytes
        self._failures = 0
        self._bytes_before = 0

    def meet(self, trouble: Troubled, host: str, gained_bytes: int) -> None:
        """Pause after a failed attempt that brought so many bytes.

        Raises DownloadFailed when there were enough of them, or Stopped when others go on well meanwhile, or when
        the transfer ends.
        """
        if gained_bytes >= _GAIN_BYTES:
            self._failures = 0
        if not self._failures:
            self._bytes_before = self._others_bytes()
        self._failures += 1
        asked_seconds = trouble.asked_seconds or 0.0
        if asked_seconds > self._policy.most_asked_seconds:
            raise _come_later(host, trouble, asked_seconds)
        if self._failures >= self._policy.attempts:
            if self._others_bytes() - self._bytes_before >= _GAIN_BYTES:
                raise Stopped  # a server may allow fewer connections than we would like
            raise DownloadFailed(
                f"{host} cannot deliver the file: {trouble} ({self._failures} attempts); "
                "check the connection and pull again: what has arrived is kept"
            ) from trouble
        if self._stop.wait(max(self._pause_seconds(), asked_seconds)):
            raise Stopped

    def _pause_seconds(self) -> float:
        longest = min(self._policy.first_seconds * 2.0 ** (self._failures - 1), self._policy.most_seconds)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  not a secret


def _come_later(host: str, trouble: Troubled, asked_seconds: float) -> DownloadFailed:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + min(asked_seconds, 1e9)))
    return DownloadFailed(
        f"{host} cannot deliver the file now: {trouble}, and asks to come again at {when}; "
        "pull again then: what has arrived is kept",
        retry_seconds=asked_seconds,
    )
