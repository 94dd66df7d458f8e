"""Garbage: what is on the disk and of no use to anybody, and removing it."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from localllm.models.digest import Digest
from localllm.models.files import bytes_on_disk, disk_errors, names_in
from localllm.models.manifest import Head
from localllm.models.names import ModelName
from localllm.models.storage.store import Store

_PART_KEY = re.compile(
    r"(?:wheel-)?(?P<key>[0-9a-f]{64}|git-[0-9a-f]{40}|import-[0-9a-f]{32}|quantize-[0-9a-f]{32})(?:[.-].*)?"
)  # in parts/
_ALIASES_STRAY = re.compile(r"aliases\.json\.[0-9]+\.part")

Kind = Literal["blob", "part", "version", "stray"]
_ORDER: tuple[Kind, ...] = ("version", "blob", "part", "stray")  # versions hold blobs


class Garbage(Struct, frozen=True, kw_only=True):
    """One thing that can go."""

    kind: Kind
    what: str  # digest, name of a file in parts/, "model version", or path below the store
    size_bytes: int


def find_garbage(store: Store, *, old_versions: bool) -> list[Garbage]:
    """Blobs that no model uses, downloads that nobody is at work on, what a change of manifests that was cut off left
    behind, and, if wanted, superseded versions.

    Changes nothing. The versions of a pinned model stay. Raises IntegrityError while a manifest is damaged: what it
    uses is not known; ModelError.
    """
    used = store.references()
    unused = [digest for digest in store.blobs.digests() if digest not in used and not store.locks.is_held(digest)]
    found = [Garbage(kind="blob", what=str(digest), size_bytes=store.blobs.size(digest) or 0) for digest in unused]
    found.extend(_given_up(store))
    found.extend(
        Garbage(kind="stray", what=path.relative_to(store.root).as_posix(), size_bytes=0) for path in _strays(store)
    )
    if old_versions:
        found.extend(_superseded(store))
    return found


def collect_garbage(store: Store, garbage: list[Garbage]) -> int:
    """Remove it, but for what another process has come to use meanwhile; returns the bytes freed.

    Raises IntegrityError or ModelError at the first that cannot be removed; the others stay for the next time.
    """
    freed = 0
    for kind in _ORDER:
        whats = [item.what for item in garbage if item.kind == kind]
        match kind:
            case "version":
                freed += sum(_drop_version(store, what) for what in whats)
            case "blob":
                freed += store.drop_blobs(map(Digest, whats))
            case "part":
                freed += sum(_drop_part(store, what) for what in whats)
            case "stray" if whats:
                _drop_strays(store, set(whats))
    return freed


def _given_up(store: Store) -> Iterator[Garbage]:
    parts = store.root / "parts"
    with disk_errors(f"read {parts}"):
        names = names_in(parts)
    for name in names:
        match = _PART_KEY.fullmatch(name)
        if match is not None and not store.locks.is_held(match["key"]):
            with disk_errors(f"read {parts / name}"):
                size_bytes = bytes_on_disk(parts / name)
            yield Garbage(kind="part", what=name, size_bytes=size_bytes)


def _strays(store: Store) -> list[Path]:
    with disk_errors(f"read {store.root}"):
        names = names_in(store.root)
    return [*store.versions.strays(), *(store.root / name for name in names if _ALIASES_STRAY.fullmatch(name))]


def _superseded(store: Store) -> Iterator[Garbage]:
    """Each with the bytes that go with it, if those before it go as well."""
    heads = [head for head in store.versions.heads() if isinstance(head, Head)]
    kept: set[str] = set()
    old = []
    for head in heads:
        for manifest in store.versions.manifests(head):
            if head.is_pinned or manifest.version == head.version:
                kept.update(file.sha256 for file in manifest.own_files)
            else:
                old.append(manifest)
    for manifest in old:
        sizes = {file.sha256: file.size_bytes for file in manifest.own_files if file.sha256 not in kept}
        kept.update(sizes)
        yield Garbage(kind="version", what=f"{manifest.name} {manifest.version}", size_bytes=sum(sizes.values()))


def _drop_version(store: Store, what: str) -> int:
    """The head forgets it first: what is left when that is cut off is a stray."""
    text, _, version = what.rpartition(" ")
    name = ModelName(text)
    with store.changing(f"remove {what}"):
        head = store.versions.head(name)
        if head is None or head.version == version or head.is_pinned or version not in head.trail:
            return 0
        manifest = store.versions.manifest(name, version)
        trail = tuple(known for known in head.trail if known != version)
        store.versions.set_head(msgspec.structs.replace(head, trail=trail))
        store.versions.drop_version(name, version)
    return store.drop_blobs({file.digest for file in manifest.own_files}) if manifest is not None else 0


def _drop_part(store: Store, name: str) -> int:
    match = _PART_KEY.fullmatch(name)
    if match is None:
        return 0
    with store.locks.trying(match["key"]) as is_held:
        if not is_held:  # a download is under way
            return 0
        path = store.root / "parts" / name
        with disk_errors(f"remove {path}"):
            size_bytes = bytes_on_disk(path)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return size_bytes


def _drop_strays(store: Store, whats: set[str]) -> None:
    """Nobody writes manifests meanwhile: a part is one that was left."""
    with store.changing(f"clean up {store.root}"):
        for path in _strays(store):
            if path.relative_to(store.root).as_posix() in whats:
                store.versions.drop_stray(path)
