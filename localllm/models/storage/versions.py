"""Versions: small manifests for every version of every model, and a head that says which one is in use.

<folder>/<name>/<version>.json    what a version is made of
<folder>/<name>/head.json         which one is in use; replacing it is what publishes or rolls back
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from localllm.errors import IntegrityError, LocalLLMError, ModelError, ModelNotFound
from localllm.models.files import disk_errors, make_folder, names_in, read_small, sync_folder, write_durably
from localllm.models.manifest import VERSION_PATTERN, Head, Manifest, encode
from localllm.models.names import ModelName

HEAD = "head.json"
_OURS = re.compile(rf"(?:head|{VERSION_PATTERN})\.json(?:\.[0-9]+\.part)?")

T = TypeVar("T", Head, Manifest)


class Versions:
    """The manifests below one folder. Whoever changes them holds the store's lock; reading needs none.

    All methods raise ModelError where the system refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[ModelName]:
        """The models that have a folder here, in lower case; other folders are not ours."""
        with disk_errors(f"read {self._folder}"):
            folders = names_in(self._folder)
        found = []
        for folder in folders:
            with suppress(ModelNotFound):
                found.append(ModelName.of_folder(folder))
        return found

    def heads(self) -> Iterator[Head | IntegrityError]:
        """What is in use of every model; in the place of one that cannot be read, what is wrong with it."""
        for name in self.names():
            try:
                head = self.head(name)
            except ModelError as error:
                yield unreadable(error)
            else:
                if head is not None:
                    yield head

    def has(self, name: ModelName) -> bool:
        """Whether there is such a model, be its manifests right or damaged."""
        path = self._head_path(name)
        with disk_errors(f"read {path}"):
            return path.exists()

    def head(self, name: ModelName) -> Head | None:
        """What is in use of the model called `name`; None where there is no such model. Raises IntegrityError."""
        head = _read(self._head_path(name), Head)
        if head is not None and head.name.lower() != name.lower():
            raise _damaged(self._head_path(name), f"it names {head.name[:200]!r}")
        return head

    def manifest(self, name: ModelName, version: str) -> Manifest | None:
        """One version. Raises IntegrityError; ModelNotFound for what can be no version."""
        path = self._version_path(name, version)
        manifest = _read(path, Manifest)
        if manifest is not None and (manifest.name.lower(), manifest.version) != (name.lower(), version):
            raise _damaged(path, f"it is of {manifest.name[:200]!r} {manifest.version}")
        return manifest

    def in_use(self, name: ModelName) -> Manifest | None:
        """The version in use; None where there is no such model. Raises IntegrityError."""
        found = self._read_all(name, lambda head: (head.version,))
        return found[0] if found else None

    def trail(self, name: ModelName) -> list[Manifest]:
        """All versions of a model, oldest first. Raises IntegrityError where one of them is damaged or missing."""
        return self._read_all(name, lambda head: head.trail)

    def manifests(self, head: Head) -> list[Manifest]:
        """The versions of a model that can be read, oldest first."""
        found = []
        for version in head.trail:
            with suppress(IntegrityError):
                found.append(self.manifest(ModelName(head.name), version))
        return [manifest for manifest in found if manifest is not None]

    def add(self, manifest: Manifest) -> None:
        """Keep a version; it is not in use before a head says so."""
        path = self._version_path(ModelName(manifest.name), manifest.version)
        with disk_errors(f"write {path}"):
            make_folder(path.parent)
            write_durably(path, encode(manifest))

    def set_head(self, head: Head) -> None:
        """Put a version into use."""
        path = self._head_path(ModelName(head.name))
        with disk_errors(f"write {path}"):
            write_durably(path, encode(head))

    def drop_version(self, name: ModelName, version: str) -> None:
        """Forget a version that is not in use."""
        path = self._version_path(name, version)
        with disk_errors(f"remove {path}"):
            path.unlink(missing_ok=True)

    def drop(self, name: ModelName) -> None:
        """Forget a model. Once the head is gone there is no such model; what else cannot be removed is a stray."""
        folder = self._folder / name.folder
        with disk_errors(f"remove {name}"):
            self._head_path(name).unlink()
            sync_folder(folder)
        with suppress(ModelError):
            for stray in self._strays_of(name):
                self.drop_stray(stray)

    def strays(self) -> Iterator[Path]:
        """What a change that was cut off left behind, each folder after what is in it. Raises IntegrityError."""
        for name in self.names():
            yield from self._strays_of(name)

    def drop_stray(self, path: Path) -> None:
        """Remove one of the `strays`."""
        with disk_errors(f"remove {path}"):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)

    def _strays_of(self, name: ModelName) -> Iterator[Path]:
        folder = self._folder / name.folder
        head = self.head(name)
        kept = {HEAD, *(f"{version}.json" for version in head.trail)} if head is not None else set()
        with disk_errors(f"read {folder}"):
            entries = names_in(folder)
        strays = [entry for entry in entries if _OURS.fullmatch(entry) and entry not in kept]
        yield from (folder / stray for stray in strays)
        if head is None and len(strays) == len(entries):  # nothing in it is somebody else's
            yield folder

    def _read_all(self, name: ModelName, choose: Callable[[Head], tuple[str, ...]]) -> list[Manifest]:
        """Those versions; where another process changes them meanwhile, those that its head names."""
        head = self.head(name)
        while head is not None:
            versions = choose(head)
            found = [self.manifest(name, version) for version in versions]
            there = [manifest for manifest in found if manifest is not None]
            if len(there) == len(found):
                return there
            before, head = head, self.head(name)
            if head == before:
                raise _damaged(self._version_path(name, versions[found.index(None)]), "it is missing")
        return []

    def _head_path(self, name: ModelName) -> Path:
        return self._folder / name.folder / HEAD

    def _version_path(self, name: ModelName, version: str) -> Path:
        if not re.fullmatch(VERSION_PATTERN, version):
            raise ModelNotFound(f"{version[:80]!r} is no version; see: localllm history {name}", param="version")
        return self._folder / name.folder / f"{version}.json"


def unreadable(error: ModelError) -> IntegrityError:
    """What the system says of one model, as damage to that model, so that it does not hide the others."""
    return error if isinstance(error, IntegrityError) else IntegrityError(error.message)


def _read(path: Path, kind: type[T]) -> T | None:
    """What is in a file, or None where there is no file."""
    with disk_errors(f"read {path}"):
        try:
            data = read_small(path)
        except (FileNotFoundError, NotADirectoryError):  # the latter where the home is no folder: writing says so
            return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, LocalLLMError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> IntegrityError:
    name = ModelName.of_folder(path.parent.name)
    return IntegrityError(
        f"the manifest {path} is damaged ({reason}); remove it with: localllm rm {name}; then pull the model again"
    )
