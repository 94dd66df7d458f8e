"""The store: which models are on this disk.

models/blobs/sha256-<digest>          bytes, read-only
models/manifests/<name>/              versions of a model, and which one is in use
models/parts/                         downloads under way
models/locks/                         who is at work on what
models/aliases.json                   short names that the user gave
"""

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from localllm.errors import IntegrityError, InvalidRequest, ModelError, ModelNotFound
from localllm.models.digest import Digest, Filename
from localllm.models.files import disk_errors, make_folder
from localllm.models.manifest import Head, Manifest, StoredFile
from localllm.models.names import ModelName
from localllm.models.storage.aliases import Aliases
from localllm.models.storage.blobs import Blobs, size_of
from localllm.models.storage.locks import Locks
from localllm.models.storage.versions import Versions, unreadable

_EVERYTHING = "store"  # the lock of whoever changes manifests
_LOCKS_AT_ONCE = 64  # each is an open file, of which a process may have 256 (macOS)


class Survey(NamedTuple):
    """What is on this disk."""

    manifests: list[Manifest]  # those in use, by name
    damages: list[IntegrityError]


class Store:
    """Models below one folder. Several processes may use it at once; reading needs no lock, so also on a disk that
    cannot be written."""

    def __init__(self, home: Path) -> None:
        self.root = home / "models"
        self.blobs = Blobs(self.root / "blobs")
        self.versions = Versions(self.root / "manifests")
        self.locks = Locks(self.root / "locks")
        self.aliases = Aliases(self.root / "aliases.json")

    def survey(self) -> Survey:
        """All models, and what is wrong with those that cannot be read. Raises ModelError."""
        found = Survey([], [])
        for name in self.versions.names():
            try:
                manifest = self.versions.in_use(name)
            except ModelError as error:
                found.damages.append(unreadable(error))
            else:
                found.manifests.extend([manifest] if manifest else [])
        found.manifests.sort(key=lambda manifest: manifest.name.lower())
        return found

    def current(self, name: str) -> Manifest | None:
        """The version in use of the model called `name`, whether or not its files are all here.

        Raises ModelNotFound for what cannot be a name, IntegrityError for a damaged manifest, ModelError for what
        the system does not let us read.
        """
        return self.versions.in_use(ModelName(name))

    def find(self, name: str) -> Manifest | None:
        """As `current`, if its files are all here."""
        manifest = self.current(name)
        return manifest if manifest is not None and self.is_whole(manifest) else None

    def is_whole(self, manifest: Manifest) -> bool:
        """Whether each of its files is where it should be, with the right size. Raises ModelError."""
        return all(self.size(file) == file.size_bytes for file in manifest.files)

    def size(self, file: StoredFile) -> int | None:
        """The bytes that are there of a model's file, or None where it is not. Raises ModelError."""
        return size_of(Path(file.path)) if file.is_linked else self.blobs.size(file.digest)

    def path(self, file: StoredFile) -> Path:
        """Where the bytes of a model's file are."""
        return Path(file.path) if file.is_linked else self.blobs.path(file.digest)

    def part_path(self, key: str) -> Path:
        """Where a download is collected. `key` names what it will be. Raises ModelError."""
        return self._parts() / Filename(f"{key}.part")

    def scratch_path(self, key: str) -> Path:
        """A folder for what is needed only during a download. Whoever holds its lock may empty it. Raises
        ModelError."""
        return self._parts() / Filename(f"wheel-{key}")

    def commit(self, manifest: Manifest) -> Manifest:
        """Put a version into use, whose files are here; returns what is kept.

        Of a version that is here already the time it came is kept, and what else is said of it replaced; it comes last
        in the trail from now on. A model keeps the spelling of its name. Raises IntegrityError where a file has been
        removed meanwhile, ModelError.
        """
        name = ModelName(manifest.name)
        with self.changing(f"write to {self.root}"):
            head = self._intact_head(name)
            if head is not None:
                manifest = msgspec.structs.replace(manifest, name=head.name)
            self._require_files(manifest)
            known = self._intact(name, manifest.version) if head is not None else None
            if known is not None:
                manifest = msgspec.structs.replace(manifest, created=known.created)
            if manifest != known:
                self.versions.add(manifest)
            if head is None or head.version != manifest.version:
                self.versions.set_head(_with_last(head, manifest))
            return manifest

    def require(self, name: str) -> Head:
        """The head of a model that is here. Raises ModelNotFound."""
        head = self.versions.head(ModelName(name))
        if head is None:
            raise ModelNotFound(f"there is no model {name!r} on this disk; see: localllm list", param="model")
        return head

    def rollback(self, name: str, version: str | None = None) -> Manifest:
        """Put an earlier version into use: the one that came before, or the one that `version` begins.

        Raises ModelNotFound, or InvalidRequest where there is no such version or its files are not here.
        """
        with self.changing(f"write to {self.root}"):
            head = self.require(name)
            wanted = _earlier(head) if version is None else _beginning(head, version)
            manifest = self.versions.manifest(ModelName(name), wanted)
            if manifest is None or not self.is_whole(manifest):
                raise InvalidRequest(
                    f"not all files of version {wanted} are here any more, so {head.name} stays at {head.version}; "
                    f"for other versions see: localllm history {head.name}"
                )
            self.versions.set_head(msgspec.structs.replace(head, version=wanted))
            return manifest

    def set_pinned(self, name: str, is_pinned: bool) -> Head:
        """Let updates leave a model alone, or let them come again. Raises ModelNotFound."""
        with self.changing(f"write to {self.root}"):
            head = msgspec.structs.replace(self.require(name), is_pinned=is_pinned)
            self.versions.set_head(head)
            return head

    def remove(self, name: str) -> int:
        """Remove a model; returns the bytes freed: files that another model or version uses stay.

        Of what a damaged manifest meant nothing is known: its files stay, `gc` finds them. Raises ModelNotFound;
        IntegrityError when another model's manifest is damaged, and then nothing is removed; ModelError when the
        system forbids it.
        """
        wanted = ModelName(name)
        with self.changing(f"remove {name}"):
            try:
                mine = self.versions.manifests(self.require(name))
            except IntegrityError:
                self.versions.drop(wanted)
                return 0
            others = self.references(leave_out=name)
            self.versions.drop(wanted)
        try:
            return self.drop_blobs({file.digest for manifest in mine for file in manifest.own_files} - others)
        except ModelError as error:
            raise ModelError(
                f"{name} is removed, but not all of its files: {error.message}; try again with: localllm gc"
            ) from error

    def references(self, leave_out: str = "") -> set[Digest]:
        """The blobs that any version of any model uses. Raises IntegrityError: what a damaged one uses is not known."""
        return {
            file.digest
            for name in self.versions.names()
            if name != leave_out.lower()
            for manifest in self.versions.trail(name)
            for file in manifest.own_files
        }

    def drop_blobs(self, digests: Iterable[Digest]) -> int:
        """Remove those blobs that nothing uses and that no other process is bringing; returns the bytes freed.

        Raises IntegrityError while a manifest is damaged, ModelError.
        """
        wanted = sorted(digests)
        starts = range(0, len(wanted), _LOCKS_AT_ONCE)
        return sum(self._drop_some(wanted[start : start + _LOCKS_AT_ONCE]) for start in starts)

    @contextmanager
    def changing(self, action: str) -> Generator[None, None, None]:
        """Held by whoever changes manifests; the system's errors become a ModelError about `action`."""
        with disk_errors(action), self.locks.take(_EVERYTHING):
            yield

    def _drop_some(self, digests: Iterable[Digest]) -> int:
        with ExitStack() as held:
            free = [digest for digest in digests if held.enter_context(self.locks.trying(digest))]
            with self.changing(f"remove files from {self.root}"):
                used = self.references()
                return sum(self.blobs.drop(digest) for digest in free if digest not in used)

    def _parts(self) -> Path:
        parts = self.root / "parts"
        with disk_errors(f"create {parts}"):
            make_folder(parts)
        return parts

    def _require_files(self, manifest: Manifest) -> None:
        for file in manifest.files:
            if self.size(file) != file.size_bytes:
                raise IntegrityError(
                    f"{file.filename} of {manifest.name} was removed or changed meanwhile; fetch the model again"
                )

    def _intact_head(self, name: ModelName) -> Head | None:
        with suppress(IntegrityError):  # a damaged one is replaced
            return self.versions.head(name)
        return None

    def _intact(self, name: ModelName, version: str) -> Manifest | None:
        with suppress(IntegrityError):  # likewise
            return self.versions.manifest(name, version)
        return None


def _with_last(head: Head | None, manifest: Manifest) -> Head:
    """The head that puts a version into use."""
    earlier = head.trail if head is not None else ()
    return Head(
        name=manifest.name,
        version=manifest.version,
        trail=(*(version for version in earlier if version != manifest.version), manifest.version),
        is_pinned=head is not None and head.is_pinned,
    )


def _earlier(head: Head) -> str:
    """The version that came before the one in use."""
    place = head.trail.index(head.version)
    if place == 0:
        raise InvalidRequest(f"there is no earlier version of {head.name}; see: localllm history {head.name}")
    return head.trail[place - 1]


def _beginning(head: Head, version: str) -> str:
    found = [known for known in head.trail if version and known.startswith(version.lower())]
    if len(found) != 1:
        kind = "more than one version" if found else "no version"
        raise InvalidRequest(f"{kind} of {head.name} begins with {version[:80]!r}; see: localllm history {head.name}")
    return found[0]
