"""SHA-256 digests and file names as types that cannot hold anything else."""

import re

from localllm.errors import IntegrityError

HEX_PATTERN = r"\A[0-9a-f]{64}\Z"
_MAX_FILENAME_BYTES = 200
_FORBIDDEN = set('<>:"/\\|?*')
# With any extension, these open a device (Microsoft, "Naming Files, Paths, and Namespaces").
_WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)


class Digest(str):
    """64 lower-case hexadecimal digits. Raises IntegrityError on anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Digest":
        """Check and wrap."""
        if not re.search(HEX_PATTERN, text):
            raise IntegrityError(f"not a SHA-256 digest: {text[:80]!r}")
        return super().__new__(cls, text)


class Filename(str):
    """The name of one file: no folder, and legal on every platform. Raises IntegrityError on anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Filename":
        """Check and wrap."""
        if not is_plain(text):
            raise IntegrityError(f"not a plain file name: {text[:80]!r}")
        return super().__new__(cls, text)


def is_plain(text: str) -> bool:
    """Whether `text` could name one file on every platform."""
    return (
        0 < len(text.encode("utf-8", "replace")) <= _MAX_FILENAME_BYTES
        and text.isprintable()
        and not text.startswith((".", "-", " "))
        and not text.endswith((".", " "))
        and not _FORBIDDEN & set(text)
        and not _WINDOWS_DEVICE.fullmatch(text)
    )
