"""A download under way: bytes on disk, hashed as they come, that become a blob only when all of them are right."""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from localllm.errors import IntegrityError
from localllm.models.digest import Digest
from localllm.models.store import file_chunks


class PartFile:
    """Opens what an earlier attempt left behind, and goes on from there."""

    def __init__(self, path: Path, digest: Digest, size_bytes: int) -> None:
        self._path = path
        self._digest = digest
        self._expected_bytes = size_bytes
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> Self:
        self._path.touch(mode=0o600)
        for chunk in file_chunks(self._path):
            self._hash.update(chunk)
            self.size_bytes += len(chunk)
        self._file = self._path.open("ab")
        if self.size_bytes > self._expected_bytes:
            self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

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
        if self.size_bytes < self._expected_bytes:
            raise IntegrityError(f"the source ended after {self.size_bytes} of {self._expected_bytes} bytes")
        found = self._hash.hexdigest()
        if found != self._digest:
            self.restart()
            raise IntegrityError(f"the bytes do not match: expected SHA-256 {self._digest}, got {found}")
        self._file.flush()
        os.fsync(self._file.fileno())
