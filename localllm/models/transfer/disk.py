"""A file that several threads write and read at offsets, and what the disk's errors mean to a user."""

import errno
import os
import stat
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from localllm.errors import ModelError, NoRoom
from localllm.models.files import PRIVATE_FILE

_RESERVE_BYTES = 256 * 2**20
_RESERVE_SECONDS = 2.0
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV}


@contextmanager
def disk_faults(action: str) -> Generator[None, None, None]:
    """The system's errors as NoRoom (disk or quota full) or ModelError, saying what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoRoom(
                f"cannot {action}: {error.strerror}; free some space or set LOCALLLM_HOME to another disk, "
                "then pull again: what has arrived is kept"
            ) from error
        raise ModelError(f"cannot {action}: {error}; mend that and pull again: what has arrived is kept") from error


class PlainFile:
    """A regular file of this user's, created if it is missing; not safe to close while a thread uses it.

    All methods raise OSError, but opening raises ModelError for what is no plain file of this user's.
    """

    def __init__(self, path: Path) -> None:
        # a planted link must not lead our bytes elsewhere; Windows has no such flag, and one of its own
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, PRIVATE_FILE)
        self._seeking = threading.Lock()
        try:
            _check_is_ours(path, os.fstat(self._descriptor))
        except BaseException:
            self.close()
            raise

    @property
    def size_bytes(self) -> int:
        """Where it ends."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Give up the descriptor; once is enough."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def write_at(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` from byte `offset` on."""
        view = memoryview(data)
        while view:
            count = self._write_some(view, offset)
            view = view[count:]
            offset += count

    def read_at(self, view: memoryview, offset: int) -> int:
        """Fill `view` from byte `offset` on; returns how many bytes there were."""
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [view], offset)
        with self._seeking:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, len(view))
        view[: len(data)] = data
        return len(data)

    def truncate(self, size_bytes: int) -> None:
        """Make it end there."""
        os.ftruncate(self._descriptor, size_bytes)

    def reserve(self, size_bytes: int) -> None:
        """Make it that long, with room on the disk where the file system can promise that; bytes stay."""
        status = os.fstat(self._descriptor)
        if getattr(status, "st_blocks", 0) * 512 < size_bytes and hasattr(os, "posix_fallocate"):
            self._allocate(size_bytes)
        if self.size_bytes != size_bytes:
            self.truncate(size_bytes)

    def sync(self) -> None:
        """Wait until the disk has it."""
        os.fsync(self._descriptor)

    def _write_some(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._descriptor, view, offset)
        with self._seeking:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.write(self._descriptor, view)

    def _allocate(self, size_bytes: int) -> None:
        """In steps: where the file system cannot allocate, the C library writes into every block, for minutes."""
        end = time.monotonic() + _RESERVE_SECONDS
        for start in range(0, size_bytes, _RESERVE_BYTES):
            try:
                os.posix_fallocate(self._descriptor, start, min(_RESERVE_BYTES, size_bytes - start))
            except OSError as error:
                if error.errno in _CANNOT_RESERVE:
                    return
                raise
            if time.monotonic() > end:
                return


def _check_is_ours(path: Path, status: os.stat_result) -> None:
    is_ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    if not (stat.S_ISREG(status.st_mode) and is_ours and status.st_nlink <= 1):
        raise ModelError(f"{path} is not a plain file of yours; remove it and pull again")
