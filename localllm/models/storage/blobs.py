"""Blobs: files kept under their SHA-256, read-only."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from localllm.errors import IntegrityError, ModelError
from localllm.models.digest import Digest
from localllm.models.files import PRIVATE_FILE, disk_errors, make_folder, move_durably, names_in

READ_ONLY = 0o400
READ_BYTES = 1 << 20
_PREFIX = "sha256-"

OnBytes = Callable[[int], None]  # bytes done so far


class Blobs:
    """The files of one folder, each named by what is in it. All methods raise ModelError where the system refuses.

    A link in the place of a blob counts as no blob: what it points to could change at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: Digest) -> Path:
        """Where the bytes of `digest` are kept. The only place that makes such a path."""
        return self._folder / f"{_PREFIX}{digest}"

    def size(self, digest: Digest) -> int | None:
        """Bytes that are there, or None where the blob is not."""
        path = self.path(digest)
        with disk_errors(f"read {path}"):
            try:
                status = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def publish(self, part: Path, digest: Digest) -> None:
        """Move a verified and synced file into its place; whatever is there is replaced at once.

        The part stays writable until then, so that a download that is cut off here can be taken up again.
        """
        blob = self.path(digest)
        with disk_errors(f"keep {blob}"):
            make_folder(blob.parent)
            _require_plain(part)
            if os.name == "nt":
                self.drop(digest)  # Windows replaces no read-only file
            move_durably(part, blob)
            with suppress(OSError):  # not every file system has permissions
                os.chmod(blob, READ_ONLY)

    def drop(self, digest: Digest) -> int:
        """Remove a blob, if it is there; returns the bytes freed."""
        blob = self.path(digest)
        with disk_errors(f"remove {blob}"):
            try:
                size_bytes = blob.lstat().st_size
                if os.name == "nt":
                    os.chmod(blob, PRIVATE_FILE)  # Windows does not delete read-only files
                blob.unlink()
            except FileNotFoundError:
                return 0
            return size_bytes

    def digests(self) -> Iterator[Digest]:
        """Those that are there; other files in the folder are not ours."""
        with disk_errors(f"read {self._folder}"):
            names = names_in(self._folder)
        for name in names:
            if name.startswith(_PREFIX):
                with suppress(IntegrityError):
                    yield Digest(name.removeprefix(_PREFIX))


def size_of(path: Path) -> int | None:
    """Bytes of a file, or None where there is none. Raises ModelError."""
    with disk_errors(f"read {path}"):
        try:
            return path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None


def hash_file(path: Path, on_bytes: OnBytes) -> Digest:
    """The SHA-256 of a whole file. Raises OSError."""
    found = hashlib.sha256()
    done_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            found.update(chunk)
            done_bytes += len(chunk)
            on_bytes(done_bytes)
    return Digest(found.hexdigest())


def _require_plain(part: Path) -> None:
    status = part.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # somebody could change it through the other name
        raise ModelError(f"{part} is not a plain file of yours; remove it and pull again")
