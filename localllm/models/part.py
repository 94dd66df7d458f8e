"""A download under way: bytes on disk, hashed as they come, that become a blob only when all of them are right."""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from localllm.errors import IntegrityError
from localllm.models.digest import Digest
from localllm.models.files import PRIVATE_FILE

_READ_BYTES = 1 << 20


class PartFile:
    """Opens what an earlier attempt left behind, and goes on from there."""

    def __init__(self, path: Path, digest: Digest, size_bytes: int) -> None:
        self._path = path
        self._digest = digest
        self._expected_bytes = size_bytes
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> Self:
        self._file = open(self._path, "a+b", opener=_open_privately)
        self._file.seek(0)
        while chunk := self._file.read(_READ_BYTES):
            self._hash.update(chunk)
            self.size_bytes += len(chunk)
        if self.is_full and not self.is_complete:
            self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def is_full(self) -> bool:
        """Whether all bytes are there, be they right or wrong."""
        return self.size_bytes >= self._expected_bytes

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there and right."""
        return self.size_bytes == self._expected_bytes and self._hash.hexdigest() == self._digest

    def restart(self) -> None:
        """Forget what is there."""
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append. Raises IntegrityError as soon as there are more bytes than there should be."""
        if self.size_bytes + len(chunk) > self._expected_bytes:
            self.restart()
            raise IntegrityError(f"the source sent more than the {self._expected_bytes} bytes of the file")
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def finish(self) -> None:
        """Check length and digest and sync. Raises IntegrityError; wrong bytes are then dropped."""
        if not self.is_full:
            raise IntegrityError(f"the source ended after {self.size_bytes} of {self._expected_bytes} bytes")
        if not self.is_complete:
            found = self._hash.hexdigest()
            self.restart()
            raise IntegrityError(f"the bytes do not match: expected SHA-256 {self._digest}, got {found}")
        self._file.flush()
        os.fsync(self._file.fileno())


def _open_privately(path: str, flags: int) -> int:
    no_follow = getattr(os, "O_NOFOLLOW", 0)  # a planted link must not lead our bytes elsewhere; not on Windows
    return os.open(path, flags | no_follow, PRIVATE_FILE)
