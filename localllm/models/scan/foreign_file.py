"""Read-only looks at single files of other programs, which may be anything by now.

Whatever is wrong becomes an OSError, ValueError or ModelError; `reason_of` says it in words.
"""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from localllm.errors import LoadFailed, ModelError
from localllm.models.digest import Digest
from localllm.models.files import NotRegular, open_regular
from localllm.models.scan.found import FoundFile

GGUF_MAGIC = b"GGUF"  # ggml docs/gguf.md, "File Structure"

Content = TypeVar("Content")

TROUBLE = (OSError, ValueError, ModelError)  # ValueError: a path with a NUL, text that is no UTF-8


def reason_of(error: Exception) -> str:
    """Why something was left out, in one printable line without its path."""
    match error:
        case ModelError():
            text = error.message
        case OSError():
            text = f"it cannot be read: {error.strerror or error}"
        case _:
            text = f"it cannot be used: {error}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]


def look_at(path: Path, sha256: Digest | None = None) -> FoundFile:
    """The GGUF file at `path`, whose place says that it has that digest. Raises TROUBLE."""
    magic, size_bytes = _head(path, len(GGUF_MAGIC))
    if magic != GGUF_MAGIC:
        raise LoadFailed(f"it is not a GGUF file: it begins with {magic!r}" if magic else "it is empty")
    return FoundFile(path=path, size_bytes=size_bytes, sha256=sha256)


def small_file(path: Path, most_bytes: int) -> bytes:
    """All of a file that must not be longer. Raises TROUBLE."""
    data, size_bytes = _head(path, most_bytes)
    if size_bytes > most_bytes:
        raise ModelError(f"it has {size_bytes} bytes, more than the {most_bytes} expected of such a file")
    return data


def small_json(path: Path, most_bytes: int, kind: type[Content]) -> Content:
    """What a JSON file holds. Raises TROUBLE."""
    data = small_file(path, most_bytes)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:  # the last: a million brackets
        raise ModelError(f"it does not hold the JSON expected: {error}") from error


def real_path(path: Path) -> Path:
    """Where `path` leads. Raises OSError, also for links in a circle and links to nothing."""
    return Path(os.path.realpath(path, strict=True))


def _head(path: Path, most_bytes: int) -> tuple[bytes, int]:
    """The first bytes, and how many there are in all."""
    try:
        descriptor = open_regular(path)
    except NotRegular as error:
        raise LoadFailed("it is no regular file") from error
    with open(descriptor, "rb") as file:
        return file.read(most_bytes), os.fstat(descriptor).st_size
