"""Every step of a change to the disk, one at a time: what happens if this one fails, or is the last?"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from localllm.models.manifest import Head, Manifest
from localllm.models.names import ModelName
from localllm.models.storage.garbage import collect_garbage, find_garbage
from localllm.models.storage.store import Store
from tests.models.cards import part_of, stored_model

CHANGES = ("open", "write", "fsync", "replace", "chmod", "unlink", "mkdir", "rmdir")
READS = ("stat", "listdir")

NAME, OTHER = "tiny:1m", "tiny:other"
OLD, NEW, SHARED, UNUSED = b"GGUF old", b"GGUF and new", b"GGUF shared", b"GGUF unused"


@contextmanager
def at_step(number: int, functions: tuple[str, ...], action: Callable[[], None]) -> Iterator[list[str]]:
    """Before the call of that number (from 0) of any of these functions of `os`, do `action`; yields those called."""
    called: list[str] = []
    with without_sync() as patch:
        for name in functions:
            patch.setattr(os, name, _counting(name, getattr(os, name), called, number, action))
        yield called


@contextmanager
def without_sync() -> Iterator[pytest.MonkeyPatch]:
    """The disk is not waited for: only a power cut could tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield patch


def _counting(
    name: str, real: Callable[..., object], called: list[str], number: int, action: Callable[[], None]
) -> Callable[..., object]:
    def call(*arguments: object, **options: object) -> object:
        called.append(name)
        if len(called) == number + 1:
            action()
        return real(*arguments, **options)

    return call


def prepare_nothing(store: Store) -> None:
    """An empty store, but for a model that nothing must touch."""
    stored_model(store, OTHER, SHARED)


def prepare_one(store: Store) -> None:
    """A model in its first version."""
    prepare_nothing(store)
    stored_model(store, NAME, OLD)


def prepare_two(store: Store) -> None:
    """A model in its second version."""
    prepare_one(store)
    stored_model(store, NAME, NEW)


def prepare_garbage(store: Store) -> None:
    """A superseded version, an unused blob, a download that was given up, and what cut-off changes leave."""
    prepare_two(store)
    stored_model(store, "tiny:gone", UNUSED)
    head = store.require("tiny:gone")
    store.versions.drop(ModelName(head.name))
    part_of(store, b"given up").write_bytes(b"giv")
    leave_strays(store)


def leave_strays(store: Store) -> None:
    """As a process does that is killed while it writes manifests."""
    folder = store.root / "manifests" / ModelName(NAME).folder
    (folder / "head.json.4711.part").write_bytes(b"{")
    (folder / f"{'0' * 12}.json").write_bytes(b"{}")
    (folder.parent / "never+published").mkdir()
    (folder.parent / "never+published" / f"{'1' * 12}.json").write_bytes(b"{}")
    (store.root / "aliases.json.4711.part").write_bytes(b"{")


def bring(store: Store) -> None:
    """The new version."""
    stored_model(store, NAME, NEW)


def roll_back(store: Store) -> None:
    """The old version, whichever is in use."""
    versions = store.versions.trail(ModelName(NAME))
    store.rollback(NAME, versions[0].version)


def remove(store: Store) -> None:
    """The model, whether or not an earlier attempt got so far already; the rest goes with `gc`."""
    if store.versions.has(ModelName(NAME)):
        store.remove(NAME)
    clean_up(store)


def clean_up(store: Store) -> None:
    """Remove all garbage, also old versions."""
    collect_garbage(store, find_garbage(store, old_versions=True))


def pin(store: Store) -> None:
    """Pin the model."""
    store.set_pinned(NAME, True)


def set_alias(store: Store) -> None:
    """Put an alias."""
    with store.changing("write"):
        store.aliases.put("short", NAME)


CHANGES_OF_A_STORE: dict[str, tuple[Callable[[Store], None], Callable[[Store], None], set[bytes | None]]] = {
    # what is there, what is done, and which versions may be in use when it was cut off (None: no such model)
    "first version": (prepare_nothing, bring, {None, NEW}),
    "second version": (prepare_one, bring, {OLD, NEW}),
    "rollback": (prepare_two, roll_back, {OLD, NEW}),
    "remove": (prepare_two, remove, {NEW, None}),
    "gc": (prepare_garbage, clean_up, {NEW}),
    "pin": (prepare_one, pin, {OLD}),
    "alias": (prepare_one, set_alias, {OLD}),
}
AFTER = {
    "first version": NEW,
    "second version": NEW,
    "rollback": OLD,
    "remove": None,
    "gc": NEW,
    "pin": OLD,
    "alias": OLD,
}


def contents(store: Store, manifest: Manifest | None) -> bytes | None:
    """The bytes of a model; None where there is no model."""
    if manifest is None:
        return None
    assert store.is_whole(manifest)
    return b"".join(store.path(file).read_bytes() for file in manifest.files)


def assert_reads_as(store: Store, allowed: set[bytes | None]) -> None:
    """A whole version of the model is in use, nothing is damaged, and the other model is as it was."""
    survey = store.survey()
    assert survey.damages == []
    assert contents(store, store.current(NAME)) in allowed
    assert contents(store, store.current(OTHER)) == SHARED
    assert {manifest.name for manifest in survey.manifests} <= {NAME, OTHER}


def unexplained(store: Store) -> set[str]:
    """The files below a store that are neither in use nor a lock: paths below its root."""
    used = {store.blobs.path(digest) for digest in store.references()}
    used |= {store.root / "aliases.json"}
    for head in store.versions.heads():
        assert isinstance(head, Head)
        folder = store.root / "manifests" / ModelName(head.name).folder
        used |= {folder / "head.json", *(folder / f"{version}.json" for version in head.trail)}
    found = {path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"}
    return {path.relative_to(store.root).as_posix() for path in found - used}


def seen_as_garbage(store: Store) -> set[str]:
    """What `find_garbage` finds, as `unexplained` names it; folders left out."""
    prefixes = {"blob": "blobs/sha256-", "part": "parts/", "stray": ""}
    found = find_garbage(store, old_versions=False)
    paths = {f"{prefixes[item.kind]}{item.what}" for item in found}
    return {path for path in paths if not (store.root / path).is_dir()}
