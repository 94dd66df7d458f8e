"""The store: files by their SHA-256, and a small manifest for each model that uses them.

models/blobs/sha256-<digest>          the bytes, read-only
models/manifests/<name>/<tag>.json    what a model is made of
models/parts/                         downloads under way, and the locks that guard them
"""

import hashlib
import os
from pathlib import Path

import msgspec
from filelock import FileLock
from msgspec import Struct

from localllm.errors import IntegrityError, ModelNotFound
from localllm.models.card import ModelFile
from localllm.models.digest import Digest, is_model_name
from localllm.models.files import PRIVATE_FILE, disk_errors, make_folder, move_durably, write_durably
from localllm.types import ModelDefaults

READ_ONLY = 0o400


class Manifest(Struct, frozen=True, kw_only=True):
    """A model in the store."""

    name: str
    source: str  # where the bytes came from, in words
    license: str
    created: int  # Unix time
    defaults: ModelDefaults
    file: ModelFile


class Store:
    """Models below one folder. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root / "models"

    def manifests(self) -> list[Manifest]:
        """All models, by name. Raises IntegrityError or ModelError, naming the manifest at fault."""
        paths = sorted(self.root.glob("manifests/*/*.json"))
        found = [self._read(path) for path in paths if is_model_name(_name_of(path))]  # other files are not ours
        return [manifest for manifest in found if manifest is not None]

    def find(self, name: str) -> Manifest | None:
        """The model called `name`, if its manifest and its file are here.

        Raises ModelNotFound for what cannot be a name, IntegrityError for a damaged manifest, ModelError for what
        the system does not let us read.
        """
        manifest = self._read(self._manifest_path(name))
        return manifest if manifest is not None and self._has_size(manifest.file) else None

    def verify(self, file: ModelFile) -> bool:
        """Whether the bytes of `file` are here and right; reads all of them."""
        if not self._has_size(file):
            return False
        with self.blob_path(file.digest).open("rb") as blob:
            return hashlib.file_digest(blob, "sha256").hexdigest() == file.sha256

    def blob_path(self, digest: Digest) -> Path:
        """Where the bytes of `digest` are kept. The only place that makes such a path."""
        return self.root / "blobs" / f"sha256-{digest}"

    def part_path(self, digest: Digest) -> Path:
        """Where a download of `digest` is collected."""
        return self._parts() / f"{digest}.part"

    def scratch_path(self, digest: Digest) -> Path:
        """A folder for what is needed only while `digest` is fetched. Whoever holds the lock may empty it."""
        return self._parts() / f"wheel-{digest}"

    def lock(self, digest: Digest) -> FileLock:
        """Held by whoever downloads or removes the bytes of `digest`."""
        return FileLock(self._parts() / f"{digest}.lock")

    def publish(self, part: Path, manifest: Manifest) -> None:
        """Make a downloaded, verified and synced file into a model: first the bytes, then the manifest."""
        self._drop_blob(manifest.file.digest)  # one is here only if it is damaged
        blob = self.blob_path(manifest.file.digest)
        make_folder(blob.parent)
        move_durably(part, blob)
        self.write_manifest(manifest)

    def write_manifest(self, manifest: Manifest) -> None:
        """Name a model whose bytes are here, and protect them."""
        os.chmod(self.blob_path(manifest.file.digest), READ_ONLY)
        path = self._manifest_path(manifest.name)
        make_folder(path.parent)
        write_durably(path, msgspec.json.format(msgspec.json.encode(manifest), indent=2))

    def remove(self, name: str) -> int:
        """Remove a model; returns the bytes freed: 0 when another model still uses the file.

        Of a damaged manifest only the manifest goes: which file it meant is not known, and pulling the model again
        finds that file. Raises ModelNotFound; IntegrityError when another model's manifest is damaged, and then
        nothing is removed; ModelError when the system forbids it.
        """
        path = self._manifest_path(name)
        with disk_errors(f"remove {name}"):
            try:
                manifest = self._read(path)
            except IntegrityError:
                path.unlink()
                return 0
            if manifest is None:
                raise _not_here(name)
            with self.lock(manifest.file.digest):
                return self._remove(path, manifest)

    def _remove(self, path: Path, manifest: Manifest) -> int:
        is_shared = any(
            other.file.sha256 == manifest.file.sha256 for other in self.manifests() if other.name != manifest.name
        )
        try:
            path.unlink()
        except FileNotFoundError:  # another process was faster
            raise _not_here(manifest.name) from None
        return 0 if is_shared else self._drop_blob(manifest.file.digest)

    def _drop_blob(self, digest: Digest) -> int:
        blob = self.blob_path(digest)
        try:
            size = blob.stat().st_size
        except FileNotFoundError:
            return 0
        os.chmod(blob, PRIVATE_FILE)  # Windows does not delete read-only files
        blob.unlink()
        return size

    def _has_size(self, file: ModelFile) -> bool:
        blob = self.blob_path(file.digest)
        with disk_errors(f"read {blob}"):
            try:
                return blob.stat().st_size == file.size_bytes
            except FileNotFoundError:
                return False

    def _parts(self) -> Path:
        make_folder(self.root / "parts")
        return self.root / "parts"

    def _manifest_path(self, name: str) -> Path:
        if not is_model_name(name):
            raise ModelNotFound(f"{name!r} is no model name; one looks like smollm2:135m", param="model")
        family, _, tag = name.partition(":")
        return self.root / "manifests" / family / f"{tag}.json"

    def _read(self, path: Path) -> Manifest | None:
        """The manifest in a file, or None where there is no file."""
        data = _bytes_of(path)
        if data is None:
            return None
        name = _name_of(path)
        advice = f"remove it with: localllm rm {name}; then pull the model again"
        try:
            manifest = msgspec.json.decode(data, type=Manifest)
        except msgspec.MsgspecError as error:
            raise IntegrityError(f"the manifest {path} is damaged ({error}); {advice}") from error
        if manifest.name != name:
            raise IntegrityError(f"the manifest {path} is damaged (it names {manifest.name!r}); {advice}")
        return manifest


def _bytes_of(path: Path) -> bytes | None:
    with disk_errors(f"read {path}"):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):  # the latter where the home is no folder: writing says so
            return None


def _name_of(path: Path) -> str:
    """The model whose manifest is in that file."""
    return f"{path.parent.name}:{path.stem}"


def _not_here(name: str) -> ModelNotFound:
    return ModelNotFound(f"there is no model {name!r} on this disk; see: localllm list", param="model")
