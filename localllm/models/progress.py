"""How far a pull is."""

from collections.abc import Callable

from msgspec import Struct

ELSEWHERE = "another localllm on this machine"


class Progress(Struct, frozen=True, kw_only=True):
    """Bytes that are there, of those wanted from one source."""

    source: str  # in words
    done_bytes: int
    total_bytes: int


OnProgress = Callable[[Progress], None]


class Meter:
    """Reports the bytes of one source; never goes back, though a download may have to start over."""

    def __init__(self, source: str, done_bytes: int, total_bytes: int, on_progress: OnProgress) -> None:
        self._source = source
        self._total_bytes = total_bytes
        self._on_progress = on_progress
        self._done_bytes = -1
        self(done_bytes)

    def __call__(self, done_bytes: int) -> None:
        """So many bytes are there."""
        done_bytes = min(done_bytes, self._total_bytes)
        if done_bytes > self._done_bytes:
            self._done_bytes = done_bytes
            self._on_progress(Progress(source=self._source, done_bytes=done_bytes, total_bytes=self._total_bytes))


class WholeProgress:
    """The progress of several files, told as that of one; `here_bytes` of them need not be fetched."""

    def __init__(self, total_bytes: int, here_bytes: int, on_progress: OnProgress) -> None:
        self._total_bytes = total_bytes
        self._on_progress = on_progress
        self._before_bytes = here_bytes

    def add(self, size_bytes: int) -> None:
        """A file of so many bytes has been fetched."""
        self._before_bytes += size_bytes

    def __call__(self, progress: Progress) -> None:
        """How far the file under way is."""
        done_bytes = self._before_bytes + progress.done_bytes
        self._on_progress(Progress(source=progress.source, done_bytes=done_bytes, total_bytes=self._total_bytes))
