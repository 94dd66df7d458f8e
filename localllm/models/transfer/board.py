"""Which segment is filled by whom."""

import threading

from localllm.models.transfer.part import PartFile


class Board:
    """Hands out segments in order, each to one connection at a time."""

    def __init__(self, part: PartFile) -> None:
        self._part = part
        self._open = [segment for segment in range(part.segment_count) if part.missing(segment)]
        self._held = 0
        self._is_closed = False
        self._changed = threading.Condition()

    @property
    def open_count(self) -> int:
        """Segments that wait for a connection."""
        return len(self._open)

    def take(self) -> int | None:
        """The next segment; waits while others hold the last ones, which they may give back. None: nothing is left."""
        with self._changed:
            while not self._open and self._held and not self._is_closed:
                self._changed.wait()
            if self._is_closed or not self._open:
                return None
            self._held += 1
            return self._open.pop(0)

    def give_back(self, segment: int) -> None:
        """Done with a segment, be it full or not."""
        with self._changed:
            self._held -= 1
            if self._part.missing(segment):
                self._open.insert(0, segment)
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
