"""Verify: hash every file of a model again, and say what is broken."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from localllm.errors import IntegrityError, ModelError
from localllm.models.gguf.header import read_header
from localllm.models.manifest import Manifest, StoredFile
from localllm.models.on_disk import require_forward
from localllm.models.storage.blobs import hash_file
from localllm.models.storage.store import Store

Fault = Literal["missing", "wrong size", "wrong bytes", "unreadable", "bad header"]

OnProgress = Callable[[int, int], None]  # bytes done, bytes in all

_HEADER_CHECKS: dict[str, Callable[[Path], object]] = {".gguf": read_header, ".pte": require_forward}


class FileCheck(Struct, frozen=True, kw_only=True):
    """What was found of one file."""

    filename: str
    sha256: str
    path: str
    fault: Fault | None
    reason: str = ""

    @property
    def words(self) -> str:
        """The fault in words."""
        return f"{self.filename}: {self.fault}{f' ({self.reason})' if self.reason else ''}"


class ModelCheck(Struct, frozen=True, kw_only=True):
    """What was found of one version of a model."""

    name: str
    version: str
    files: tuple[FileCheck, ...]

    @property
    def broken(self) -> tuple[FileCheck, ...]:
        """The files that are not what they should be."""
        return tuple(file for file in self.files if file.fault is not None)


def verify(manifest: Manifest, store: Store, on_progress: OnProgress) -> ModelCheck:
    """Read all of a model's bytes. What is wrong with a file is in the result, not an error."""
    checks = []
    done_bytes = 0
    for file in manifest.files:
        before = done_bytes

        def report(file_bytes: int, before: int = before) -> None:
            on_progress(before + file_bytes, manifest.size_bytes)

        checks.append(_check(file, store, report))
        done_bytes += file.size_bytes
        on_progress(done_bytes, manifest.size_bytes)
    return ModelCheck(name=manifest.name, version=manifest.version, files=tuple(checks))


def require_right(check: ModelCheck) -> None:
    """Raises IntegrityError that names every broken file."""
    if check.broken:
        words = "; ".join(file.words for file in check.broken)
        raise IntegrityError(f"{check.name} is broken. {words}. Mend it with: localllm repair {check.name}")


def _check(file: StoredFile, store: Store, on_bytes: Callable[[int], None]) -> FileCheck:
    path = store.path(file)
    fault, reason = _fault(file, store, on_bytes)
    return FileCheck(filename=file.filename, sha256=file.sha256, path=str(path), fault=fault, reason=reason)


def _fault(file: StoredFile, store: Store, on_bytes: Callable[[int], None]) -> tuple[Fault | None, str]:
    path = store.path(file)
    try:
        size_bytes = store.size(file)
        if size_bytes is None:
            return "missing", ""
        if size_bytes != file.size_bytes:
            return "wrong size", f"{size_bytes} bytes, not {file.size_bytes}"
        found = hash_file(path, on_bytes)
    except ModelError as error:
        return "unreadable", error.message
    except OSError as error:
        return "unreadable", error.strerror or str(error)
    if found != file.sha256:
        return "wrong bytes", f"SHA-256 {found}"
    return _header_fault(file, path)


def _header_fault(file: StoredFile, path: Path) -> tuple[Fault | None, str]:
    check = _HEADER_CHECKS.get(Path(file.filename).suffix.lower())
    try:
        if check is not None:
            check(path)
    except ModelError as error:
        return "bad header", error.message
    return None, ""
