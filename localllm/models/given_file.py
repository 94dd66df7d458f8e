"""A file of the user's own, read without being changed, and watched for changes by others while it is."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from localllm.errors import LoadFailed
from localllm.models.digest import Digest
from localllm.models.on_disk import unreadable
from localllm.models.reference import shown
from localllm.models.storage.blobs import READ_BYTES, OnBytes


class GivenFile(Struct, frozen=True, kw_only=True):
    """A regular file, and what it was when it was first looked at."""

    path: Path
    size_bytes: int
    modified_ns: int

    @classmethod
    def at(cls, path: Path) -> "GivenFile":
        """Look at it. Raises LoadFailed where it cannot be read, or is none: a pipe would be waited for."""
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        if not stat.S_ISREG(status.st_mode):
            raise LoadFailed(f"{shown(path)} is no regular file; name a file or a folder of files")
        return cls(path=path, size_bytes=status.st_size, modified_ns=status.st_mtime_ns)

    def chunks(self, on_bytes: OnBytes) -> Iterator[bytes]:
        """All its bytes. Raises LoadFailed where it cannot be read, or has become another meanwhile."""
        done_bytes = 0
        with self._open() as file:
            while chunk := self._next(file):
                yield chunk
                done_bytes += len(chunk)
                on_bytes(done_bytes)
            self.check_same(os.fstat(file.fileno()))
        if done_bytes != self.size_bytes:
            raise self.changed()

    def digest(self, on_bytes: OnBytes) -> Digest:
        """Its SHA-256. Raises LoadFailed as `chunks` does."""
        found = hashlib.sha256()
        for chunk in self.chunks(on_bytes):
            found.update(chunk)
        return Digest(found.hexdigest())

    def check_same(self, status: os.stat_result) -> None:
        """Raises LoadFailed where it is not what it was."""
        if (status.st_size, status.st_mtime_ns) != (self.size_bytes, self.modified_ns):
            raise self.changed()

    def changed(self) -> LoadFailed:
        """The error for a file that somebody writes to."""
        return LoadFailed(f"{shown(self.path)} changed while it was read; import it again when it is complete")

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise unreadable(self.path, error) from error

    def _next(self, file: BinaryIO) -> bytes:
        """Apart from what is done with the bytes: errors of that are not this file's."""
        try:
            return file.read(READ_BYTES)
        except OSError as error:
            raise unreadable(self.path, error) from error
