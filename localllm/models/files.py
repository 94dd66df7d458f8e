"""Durable files: written beside their place, synced, then moved into it."""

import errno
import os
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from localllm.errors import ModelError, NoRoom

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
DISK_IS_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_MOST_SMALL_BYTES = 16 * 2**20  # a manifest of a thousand files has less than one
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would write other line ends
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # opening a pipe would otherwise wait for whoever fills it


def make_folder(path: Path) -> None:
    """Create a folder, and those of its parents that are missing, readable by this user alone. Raises OSError."""
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
            sync_folder(folder.parent)


def names_in(folder: Path) -> list[str]:
    """What is in a folder, sorted; nothing where there is no folder.

    Raises OSError where it cannot be read, which `Path.glob` takes for an empty one.
    """
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def bytes_on_disk(path: Path) -> int:
    """What removing a file or a folder frees: a file that was only begun has holes. Raises OSError."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    if stat.S_ISDIR(status.st_mode):
        return sum(bytes_on_disk(path / name) for name in names_in(path))
    blocks: int | None = getattr(status, "st_blocks", None)  # of 512 bytes (POSIX sys/stat.h); not on Windows
    return status.st_size if blocks is None else blocks * 512


class NotRegular(OSError):  # noqa: N818 - as its kin in the standard library
    """A folder, a pipe or a device in the place of a file."""


def open_regular(path: Path) -> int:
    """The descriptor of a regular file, to be read. Raises NotRegular, OSError, and ValueError for a NUL in the path.

    Opening a device may do something already, so it is looked at before; and after, as it may be another one by then.
    """
    _check_regular(os.stat(path), path)
    descriptor = os.open(path, os.O_RDONLY | _BINARY | _NO_WAITING)
    try:
        _check_regular(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_small(path: Path) -> bytes:
    """All of a regular file. Raises OSError, also where it is no such file or far larger than what we write."""
    descriptor = open_regular(path)
    try:
        if os.fstat(descriptor).st_size > _MOST_SMALL_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(_MOST_SMALL_BYTES)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old or the new one whole, also after a power cut. Raises OSError.

    Where `path` is a link, the link is replaced, not what it points to.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)  # of a process that was killed here, or a link that somebody planted
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, PRIVATE_FILE)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        move_durably(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def move_durably(part: Path, path: Path) -> None:
    """Move a synced file into place and sync the folder. Raises OSError."""
    os.replace(part, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last. Windows cannot open folders, and needs none of it. Raises OSError."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(action: str) -> Generator[None, None, None]:
    """The system's errors as a ModelError that says what could not be done; as NoRoom where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise NoRoom(
                f"cannot {action}: {error}; free some space (localllm gc --dry-run shows what could go) "
                "or set LOCALLLM_HOME to another disk"
            ) from error
        raise ModelError(f"cannot {action}: {error}") from error


def _check_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular(errno.EINVAL, "not a regular file", str(path))


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def alias(path: Path, place: Path) -> Path:
    """The file under another name, without a copy where the system has links. Raises OSError."""
    with suppress(OSError):
        place.symlink_to(path)
        return place
    with suppress(OSError):
        os.link(path, place)
        return place
    shutil.copyfile(path, place)
    return place
