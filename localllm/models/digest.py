"""SHA-256 digests and file names as types that cannot hold anything else."""

import re
from pathlib import PurePosixPath, PureWindowsPath

from localllm.errors import IntegrityError

_HEX = re.compile(r"[0-9a-f]{64}")
_MAX_FILENAME_BYTES = 200
_WINDOWS_FORBIDDEN = set('<>:"/\\|?*')


class Digest(str):
    """64 lower-case hexadecimal digits. Raises IntegrityError on anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Digest":
        """Check and wrap."""
        if not _HEX.fullmatch(text):
            raise IntegrityError(f"not a SHA-256 digest: {text[:80]!r}")
        return super().__new__(cls, text)


class Filename(str):
    """The name of one file: no folder, and legal on every platform. Raises IntegrityError on anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Filename":
        """Check and wrap."""
        if not _is_plain(text):
            raise IntegrityError(f"not a plain file name: {text[:80]!r}")
        return super().__new__(cls, text)


def _is_plain(text: str) -> bool:
    return (
        0 < len(text.encode("utf-8", "replace")) <= _MAX_FILENAME_BYTES
        and text.isprintable()
        and not text.startswith((".", "-"))
        and not text.endswith((".", " "))
        and not _WINDOWS_FORBIDDEN & set(text)
        and not PureWindowsPath(text).is_reserved()
        and PurePosixPath(text).name == text
    )
