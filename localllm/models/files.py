"""Durable files: written beside their place, synced, then moved into it."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from localllm.errors import ModelError

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


def make_folder(path: Path) -> None:
    """Create a folder, and those of its parents that are missing, readable by this user alone."""
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
            sync_folder(folder.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old or the new one whole, also after a power cut."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        move_durably(part, path)
    finally:
        part.unlink(missing_ok=True)


def move_durably(part: Path, path: Path) -> None:
    """Move a synced file into place and sync the folder."""
    os.replace(part, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last. Windows cannot open folders, and needs none of it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(action: str) -> Generator[None, None, None]:
    """The system's errors (no room, no permission, in use) as a ModelError that says what could not be done."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"cannot {action}: {error}") from error
