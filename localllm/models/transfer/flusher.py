"""Writing a part file to the disk while it grows, so that the end need not wait for all of it."""

import threading

from localllm.models.transfer.disk import PlainFile

_EVERY_BYTES = 64 * 2**20


class Flusher:
    """Syncs `file` after so many new bytes, in a thread of its own that starts with the first sync."""

    def __init__(self, file: PlainFile) -> None:
        self._file = file
        self._pending_bytes = 0
        self._error: OSError | None = None
        self._is_closed = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def add(self, count: int) -> None:
        """So many bytes were written; called by several threads, and an inexact sum does."""
        self._pending_bytes += count
        if self._pending_bytes >= _EVERY_BYTES:
            self._pending_bytes = 0
            self._wake.set()
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="part-flusher", daemon=True)
                    self._thread.start()

    def check(self) -> None:
        """Raises the error of a sync: the system tells of it only once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread; waits for the sync under way."""
        self._is_closed = True
        self._wake.set()
        if self._thread is not None and self._thread.ident is not None:  # Ctrl-C may come while it is being started
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._is_closed:
                return
            try:
                self._file.sync()
            except OSError as error:
                self._error = error
