"""A download under way: bytes on disk, hashed as they come, that become a file only when all of them are right."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from localllm.errors import IntegrityError
from localllm.models.digest import Digest
from localllm.models.files import move_durably
from localllm.models.transfer.disk import PlainFile, disk_faults
from localllm.models.transfer.expected import Expected
from localllm.models.transfer.flusher import Flusher
from localllm.models.transfer.frontier import FrontierHasher
from localllm.models.transfer.journal import Journal, map_path, read_done_bytes


class PartFile:
    """Takes up what an earlier attempt left behind; its bytes come segment by segment, from several threads at once.

    A context manager, for one process at a time: the caller holds a lock. All methods raise NoRoom or ModelError
    when the disk refuses; what has arrived is then kept.
    """

    def __init__(self, path: Path, expected: Expected, *, segment_bytes: int | None = None) -> None:
        self._path = path
        self._given_segment_bytes = segment_bytes  # None: as fits the file's size
        self._moving = threading.Lock()
        self._first_open = 0  # the segment that the frontier is in
        self._is_reserved = False
        self.expected = expected

    def __enter__(self) -> Self:
        with disk_faults(f"open the download {self._path}"):
            self._file = PlainFile(self._path)
            try:
                self._journal = Journal(self._path, self.expected, self._given_segment_bytes)
            except BaseException:
                self._file.close()
                raise
            try:
                if any(self._journal.done) and self._file.size_bytes != self.expected.size_bytes:
                    self._journal.reset()
            except BaseException:
                self._close_files()
                raise
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._close_files()

    @property
    def size_bytes(self) -> int:
        """How many bytes are there, wherever they belong."""
        return sum(self._journal.done)

    @property
    def segment_count(self) -> int:
        """Segments are numbered from 0."""
        return len(self._journal.done)

    @property
    def is_full(self) -> bool:
        """Whether all bytes are there, be they right or wrong."""
        return self.size_bytes == self.expected.size_bytes

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there and right; waits for the hash if they are there."""
        if not self.is_full:
            return False
        try:
            self._hasher.check()
        except IntegrityError:
            return False
        return True

    def missing(self, segment: int) -> range:
        """The bytes of a segment that are not there: places in the file, without gaps."""
        start = segment * self._journal.segment_bytes
        return range(start + self._journal.done[segment], start + self._journal.length_of(segment))

    def reserve(self) -> None:
        """Take the room on the disk. Raises NoRoom before a byte is fetched, where the file system knows."""
        with self._moving:
            if not self._is_reserved:
                with disk_faults(f"make room for {self.expected.size_bytes} bytes in {self._path.parent}"):
                    self._file.reserve(self.expected.size_bytes)
                self._is_reserved = True

    def append(self, segment: int, data: bytes | memoryview) -> None:
        """Add bytes to a segment, which one thread at a time does. Raises IntegrityError when they do not fit."""
        missing = self.missing(segment)
        if len(data) > len(missing):
            raise IntegrityError(f"the source sent more than the {len(missing)} bytes that were missing")
        if not self._is_reserved:
            self.reserve()
        with disk_faults(f"write {self._path}"):
            self._file.write_at(data, missing.start)
            self._journal.note(segment, self._journal.done[segment] + len(data))
        with self._moving:
            self._advance()
        self._hasher.nudge()
        self._flusher.add(len(data))

    def write(self, chunk: bytes | memoryview) -> None:
        """Append to the file, from its beginning on.

        Raises IntegrityError, with all dropped, as soon as there are more bytes than there should be.
        """
        view = memoryview(chunk)
        while view:
            if self._first_open == self.segment_count:
                self.drop()
                raise IntegrityError(f"the source sent more than the {self.expected.size_bytes} bytes of the file")
            count = len(self.missing(self._first_open))
            self.append(self._first_open, view[:count])
            view = view[count:]

    def restart(self) -> None:
        """Forget what is there; its room on the disk stays taken."""
        self._end()
        try:
            with disk_faults(f"write {self._path}"):
                self._journal.reset()
        finally:
            self._begin()

    def drop(self) -> None:
        """Forget what is there, and give the room back."""
        self.restart()
        with disk_faults(f"write {self._path}"):
            self._file.truncate(0)
        self._is_reserved = False

    def finish(self) -> Digest:
        """Check the bytes and wait until the disk has them; returns their SHA-256. May be called again.

        The journal stays until `release`, so that nothing is lost in between. Raises IntegrityError when bytes are
        missing, which keeps the others, or wrong, which drops all.
        """
        if not self.is_full:
            raise IntegrityError(f"the source ended after {self.size_bytes} of {self.expected.size_bytes} bytes")
        self.reserve()  # an empty file has not come by here
        try:
            digest = self._hasher.check()
        except IntegrityError:
            self.drop()
            raise
        with disk_faults(f"write {self._path}"):
            self._flusher.check()
            self._file.sync()
        return digest

    @staticmethod
    def release(path: Path, target: Path) -> None:
        """Move a finished and closed part file into its place; the journal goes. Raises NoRoom or ModelError."""
        with disk_faults(f"move {path} to {target}"):
            move_durably(path, target)
            map_path(path).unlink(missing_ok=True)

    @staticmethod
    def discard(path: Path) -> None:
        """Remove a closed part file and its journal. Raises ModelError."""
        with disk_faults(f"remove {path}"):
            map_path(path).unlink(missing_ok=True)  # first: a part without one counts as empty
            path.unlink(missing_ok=True)

    @staticmethod
    def done_bytes(path: Path) -> int:
        """How many bytes are in the part file at `path`, which another process may be writing; 0 if unknown."""
        return read_done_bytes(path)

    def _begin(self) -> None:
        self._first_open = 0
        self._is_reserved = False
        self._advance()
        self._flusher = Flusher(self._file)
        self._hasher = FrontierHasher(self._file, self.expected, self._frontier)

    def _end(self) -> None:
        self._hasher.close()
        self._flusher.close()

    def _close_files(self) -> None:
        self._journal.close()
        self._file.close()

    def _advance(self) -> None:
        """Pass over segments that are full."""
        done = self._journal.done
        while self._first_open < len(done) and done[self._first_open] == self._journal.length_of(self._first_open):
            self._first_open += 1

    def _frontier(self) -> int:
        """The end of what has no gap before it."""
        first = self._first_open
        if first == self.segment_count:
            return self.expected.size_bytes
        return first * self._journal.segment_bytes + self._journal.done[first]
