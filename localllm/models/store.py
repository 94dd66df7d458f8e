"""The store: files by their SHA-256, and a small manifest for each model that uses them.

models/blobs/sha256-<digest>          the bytes, read-only
models/manifests/<name>/<tag>.json    what a model is made of
models/parts/                         downloads under way
"""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from filelock import FileLock
from msgspec import Meta, Struct

from localllm.errors import IntegrityError, ModelNotFound
from localllm.models.card import NAME_PATTERN
from localllm.models.digest import Digest, Filename
from localllm.models.files import make_folder, move_durably, write_durably
from localllm.types import ModelDefaults

READ_ONLY = 0o400
READ_WRITE = 0o600


class StoredFile(Struct, frozen=True):
    """A file of a stored model."""

    filename: str
    format: str
    quant: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        Filename(self.filename)
        Digest(self.sha256)


class Manifest(Struct, frozen=True, kw_only=True):
    """A model in the store."""

    name: Annotated[str, Meta(pattern=NAME_PATTERN)]
    source: str  # where the bytes came from, in words
    license: str
    created: int  # Unix time
    defaults: ModelDefaults
    file: StoredFile


class Store:
    """Models below one folder. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root / "models"

    def manifests(self) -> list[Manifest]:
        """All models, by name; a damaged manifest is an IntegrityError that names its file."""
        return [self._read(path) for path in sorted(self.root.glob("manifests/*/*.json"))]

    def find(self, name: str) -> Manifest | None:
        """The model called `name`, if its manifest and its file are here."""
        path = self._manifest_path(name)
        if not path.is_file():
            return None
        manifest = self._read(path)
        blob = self.blob_path(Digest(manifest.file.sha256))
        return manifest if blob.is_file() and blob.stat().st_size == manifest.file.size_bytes else None

    def blob_path(self, digest: Digest) -> Path:
        """Where the bytes of `digest` are kept. The only place that makes such a path."""
        return self.root / "blobs" / f"sha256-{digest}"

    def part_path(self, digest: Digest) -> Path:
        """Where a download of `digest` is collected."""
        make_folder(self.root / "parts")
        return self.root / "parts" / f"{digest}.part"

    def lock(self, digest: Digest) -> FileLock:
        """Held by whoever downloads or removes the bytes of `digest`."""
        make_folder(self.root / "parts")
        return FileLock(self.root / "parts" / f"{digest}.lock")

    def publish(self, part: Path, manifest: Manifest) -> None:
        """Make a downloaded, verified and synced file into a model: first the bytes, then the manifest."""
        blob = self.blob_path(Digest(manifest.file.sha256))
        make_folder(blob.parent)
        os.chmod(part, READ_ONLY)
        move_durably(part, blob)
        self.write_manifest(manifest)

    def write_manifest(self, manifest: Manifest) -> None:
        """Name a model whose bytes are here."""
        path = self._manifest_path(manifest.name)
        make_folder(path.parent)
        write_durably(path, msgspec.json.format(msgspec.json.encode(manifest), indent=2))

    def remove(self, name: str) -> int:
        """Remove a model; returns the bytes freed: 0 when another model still uses the file.

        Raises ModelNotFound.
        """
        path = self._manifest_path(name)
        if not path.is_file():
            raise ModelNotFound(f"there is no model {name!r} on this disk; see: localllm list")
        digest = Digest(self._read(path).file.sha256)
        with self.lock(digest):
            path.unlink(missing_ok=True)
            if any(manifest.file.sha256 == digest for manifest in self.manifests()):
                return 0
            blob = self.blob_path(digest)
            if not blob.exists():
                return 0
            size = blob.stat().st_size
            os.chmod(blob, READ_WRITE)  # Windows does not delete read-only files
            blob.unlink()
            return size

    def _manifest_path(self, name: str) -> Path:
        if not re.fullmatch(NAME_PATTERN, name):
            raise ModelNotFound(f"{name!r} is no model name; one looks like smollm2:135m")
        family, _, tag = name.partition(":")
        return self.root / "manifests" / family / f"{tag}.json"

    def _read(self, path: Path) -> Manifest:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            raise IntegrityError(f"the manifest {path} is damaged ({error}); pull the model again") from error


def now() -> int:
    """The time for `created`."""
    return int(time.time())


def file_chunks(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a file, piece by piece."""
    with path.open("rb") as file:
        while chunk := file.read(size):
            yield chunk
