"""Hashing a part file while it grows: a thread follows the end of what has no gap before it."""

import threading
from collections.abc import Callable

from localllm.errors import ModelError
from localllm.models.digest import Digest
from localllm.models.transfer.disk import PlainFile, disk_faults
from localllm.models.transfer.expected import Expected, Fingerprint

_READ_BYTES = 1 << 20  # read back from the page cache, mostly
_WORTH_WAKING_BYTES = 2 << 20


class FrontierHasher:
    """Hashes the bytes of `file` up to `frontier()`, which only grows, in a thread of its own."""

    def __init__(self, file: PlainFile, expected: Expected, frontier: Callable[[], int]) -> None:
        self._file = file
        self._size_bytes = expected.size_bytes
        self._fingerprint = Fingerprint(expected)
        self._frontier = frontier
        self._hashed_bytes = 0
        self._error: BaseException | None = None
        self._is_closed = False
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="part-hasher", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """The frontier has moved."""
        frontier = self._frontier()
        if frontier - self._hashed_bytes >= _WORTH_WAKING_BYTES or frontier == self._size_bytes:
            self._wake.set()

    def close(self) -> None:
        """End the thread; waits for it."""
        self._is_closed = True
        self._wake.set()
        self._thread.join()

    def check(self) -> Digest:
        """The SHA-256, once all bytes are there; waits for the hasher. Raises IntegrityError or ModelError."""
        self._wake.set()
        self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._fingerprint.check()

    def _run(self) -> None:
        try:
            with disk_faults("read back what has arrived"):
                self._follow()
        except BaseException as error:  # raised where the digest is asked for
            self._error = error
        finally:
            self._ended.set()

    def _follow(self) -> None:
        buffer = memoryview(bytearray(min(_READ_BYTES, max(self._size_bytes, 1))))
        while self._hashed_bytes < self._size_bytes and not self._is_closed:
            wanted = min(self._frontier() - self._hashed_bytes, len(buffer))
            if not wanted:
                self._wake.wait()
                self._wake.clear()
                continue
            count = self._file.read_at(buffer[:wanted], self._hashed_bytes)
            if not count:
                raise ModelError("the part file has become shorter meanwhile; pull again")
            self._fingerprint.update(buffer[:count])
            self._hashed_bytes += count
