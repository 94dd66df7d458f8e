"""Publishing: files that were made here become a version of a model in the store."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from localllm.models.files import disk_errors
from localllm.models.manifest import Format, MadeSource, Manifest, StoredFile, version_of
from localllm.models.names import ModelName
from localllm.models.storage.blobs import OnBytes, hash_file
from localllm.models.storage.store import Store
from localllm.types import ModelDefaults


class MadeModel(Struct, frozen=True, kw_only=True):
    """What was made, and what it is called from now on."""

    name: ModelName
    format: Format
    quant: str
    license: str
    of: str  # reference of the model that it was made from
    defaults: ModelDefaults
    files: Mapping[str, Path]  # by their names in the store, weights first; writable, on the disk of the store


def publish(made: MadeModel, store: Store, on_bytes: OnBytes) -> Manifest:
    """Move the files into the store and put the version into use; another version of that name stays in its trail.

    Nothing is published before every file is synced and hashed. Raises NoRoom, ModelError, IntegrityError for what was
    removed meanwhile.
    """
    with disk_errors(f"write to {store.root}"):
        files = []
        for filename, path in made.files.items():
            _sync(path)
            files.append(
                StoredFile(
                    filename=filename,
                    size_bytes=path.stat().st_size,
                    sha256=str(hash_file(path, on_bytes)),
                    origin=MadeSource(of=made.of),
                )
            )
        with store.locks.hold([file.digest for file in files], lambda _: None):
            for file, path in zip(files, made.files.values(), strict=True):
                if not _is_kept(file, store):
                    store.blobs.publish(path, file.digest)
            return store.commit(
                Manifest(
                    name=str(made.name),
                    version=version_of(files),
                    created=int(time.time()),
                    format=made.format,
                    quant=made.quant,
                    license=made.license,
                    source=f"made here from {made.of}",
                    defaults=made.defaults,
                    files=tuple(files),
                )
            )


def _is_kept(file: StoredFile, store: Store) -> bool:
    """Whether the store has its bytes, and not only as many: a damaged model is mended by making it again."""
    if store.blobs.size(file.digest) != file.size_bytes:
        return False
    return hash_file(store.blobs.path(file.digest), lambda _: None) == file.digest


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
