"""A file of weights, read piece by piece.

It is read, not mapped: a mapped file that becomes shorter meanwhile would end the process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from localllm.convert.json_object import AGAIN
from localllm.errors import LoadFailed
from localllm.models.files import NotRegular, open_regular

FileState = tuple[int, int, int]  # inode, size in bytes, time of the last change in nanoseconds


class WeightReader:
    """An open file. Every error is a LoadFailed that names it as the checkpoint does."""

    def __init__(self, file: FileIO, name: str) -> None:
        status = os.fstat(file.fileno())
        self.state: FileState = (status.st_ino, status.st_size, status.st_mtime_ns)
        self.size_bytes = status.st_size
        self._file = file
        self._name = name

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Read from byte `offset` on until `buffer`, of single bytes, is full."""
        try:
            self._file.seek(offset)
            while buffer:
                count = self._file.readinto(buffer)
                if not count:
                    raise LoadFailed(f"{self._name} became shorter while it was read; {AGAIN}")
                buffer = buffer[count:]
        except OSError as error:
            raise LoadFailed(f"cannot read {self._name}: {error}; {AGAIN}") from error


@contextmanager
def open_weights(path: Path, name: str) -> Iterator[WeightReader]:
    """Open a file that the checkpoint calls `name`. Raises LoadFailed where it cannot be, or is no regular file."""
    try:
        file = FileIO(open_regular(path), "r")
    except NotRegular as error:
        raise LoadFailed(f"{name} is no regular file; {AGAIN}") from error
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise LoadFailed(f"cannot read {name}: {error}; check the path and its permissions") from error
    with file:
        yield WeightReader(file, name)
