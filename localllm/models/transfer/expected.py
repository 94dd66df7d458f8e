"""What a file must turn out to be: its size, and the digest that its source states."""

import hashlib
import re

from msgspec import Struct

from localllm.errors import IntegrityError
from localllm.models.digest import Digest

_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")


class Expected(Struct, frozen=True, kw_only=True):
    """Size in bytes and a digest. Large files of a hub have a SHA-256, small ones only the SHA-1 of their git blob.

    Raises IntegrityError for a negative size, for no digest, and for what is no SHA-1.
    """

    size_bytes: int
    sha256: Digest | None = None
    git_sha1: str | None = None  # 40 hexadecimal digits; counts only where there is no SHA-256

    def __post_init__(self) -> None:
        if self.size_bytes < 0:
            raise IntegrityError(f"a file cannot have {self.size_bytes} bytes")
        if self.sha256 is None and self.git_sha1 is None:
            raise IntegrityError("a file without a digest cannot be checked")
        if self.git_sha1 is not None and not _GIT_SHA1.fullmatch(self.git_sha1):
            raise IntegrityError(f"not a git SHA-1: {self.git_sha1[:80]!r}")

    @property
    def key(self) -> str:
        """Names the content; fit to be the stem of a file's name."""
        return str(self.sha256) if self.sha256 is not None else f"git-{self.git_sha1}"


class Fingerprint:
    """The digests of bytes that come in order."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._sha256 = hashlib.sha256()
        self._git_sha1 = None
        if expected.sha256 is None:  # git, "Git Objects": the blob's header is hashed with it
            self._git_sha1 = hashlib.sha1(b"blob %d\0" % expected.size_bytes, usedforsecurity=False)

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._sha256.update(data)
        if self._git_sha1 is not None:
            self._git_sha1.update(data)

    def check(self) -> Digest:
        """The SHA-256 of the bytes. Raises IntegrityError when they are not the expected ones."""
        found = self._sha256.hexdigest()
        if self._git_sha1 is not None:
            git_sha1 = self._git_sha1.hexdigest()
            if git_sha1 != self._expected.git_sha1:
                raise IntegrityError(
                    f"the bytes do not match: expected git SHA-1 {self._expected.git_sha1}, got {git_sha1}"
                )
        elif found != self._expected.sha256:
            raise IntegrityError(f"the bytes do not match: expected SHA-256 {self._expected.sha256}, got {found}")
        return Digest(found)
