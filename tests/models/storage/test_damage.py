"""Damaged manifests: what is wrong is said, the other models stay in reach, and nothing is removed by mistake."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.errors import IntegrityError, ModelError, ModelNotFound
from localllm.models.known import KnownFiles
from localllm.models.manifest import Head
from localllm.models.names import ModelName
from localllm.models.storage.garbage import find_garbage
from localllm.models.storage.store import Store
from localllm.models.storage.usage import disk_usage
from localllm.models.transfer.expected import Expected
from tests.models.cards import stored_model

DATA, NEWER = b"GGUF and more", b"GGUF, the second"
DAMAGES = [b"", b"{", b"[]", b"null", b'{"name": "tiny:1m"}', b"\xff\xfe", b"\x00" * 40, b'{"x":' + b"[" * 10**5]


def folder_of(store: Store, name: str = "tiny:1m") -> Path:
    return store.root / "manifests" / ModelName(name).folder


def version_path(store: Store, name: str = "tiny:1m", index: int = -1) -> Path:
    return folder_of(store, name) / f"{store.require(name).trail[index]}.json"


def head_path(store: Store, name: str = "tiny:1m") -> Path:
    return folder_of(store, name) / "head.json"


@pytest.mark.parametrize("find_path", [head_path, version_path])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_says_how_to_mend_it_hides_no_other_model_and_can_be_removed(
    store: Store, damage: bytes, find_path: Callable[[Store], Path]
) -> None:
    manifest, other = stored_model(store), stored_model(store, "tiny:2m", NEWER)
    path = find_path(store)
    path.write_bytes(damage)
    with pytest.raises(IntegrityError, match="localllm rm tiny:1m") as caught:
        store.find("tiny:1m")
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    survey = store.survey()
    assert survey.manifests == [other]
    assert [damage.message for damage in survey.damages] == [caught.value.message]
    assert store.versions.has(ModelName("tiny:1m"))
    store.remove("tiny:1m")
    assert store.survey() == ([other], [])
    assert not folder_of(store).exists()
    known = KnownFiles(store, "tiny:1m").find(Expected(size_bytes=len(DATA), sha256=manifest.files[0].digest))
    assert known == manifest.files[0].digest  # which files were meant is not known, so the bytes stay


@pytest.mark.parametrize("find_path", [head_path, version_path])
def test_a_new_version_replaces_a_damaged_one(store: Store, find_path: Callable[[Store], Path]) -> None:
    manifest = stored_model(store)
    find_path(store).write_bytes(b"{")
    assert stored_model(store, created=7).files == manifest.files
    assert store.survey().damages == []
    assert store.find("tiny:1m") is not None


def test_a_missing_manifest_is_damage(store: Store) -> None:
    stored_model(store)
    version_path(store).unlink()
    with pytest.raises(IntegrityError, match="it is missing"):
        store.current("tiny:1m")
    assert len(store.survey().damages) == 1
    stored_model(store)
    assert store.find("tiny:1m") is not None


def test_a_damaged_version_that_is_not_in_use_does_not_break_the_model(store: Store) -> None:
    stored_model(store, data=DATA)
    new = stored_model(store, data=NEWER)
    version_path(store, index=0).write_bytes(b"{")
    assert store.find("tiny:1m") == new
    assert store.survey() == ([new], [])
    assert store.versions.manifests(store.require("tiny:1m")) == [new]
    assert disk_usage(store).models[0].total_bytes == len(NEWER)
    assert KnownFiles(store, "tiny:1m").is_own(new.files[0].digest)
    with pytest.raises(IntegrityError):
        store.rollback("tiny:1m")
    assert store.find("tiny:1m") == new
    with pytest.raises(IntegrityError, match="localllm rm tiny:1m"):
        find_garbage(store, old_versions=True)  # what that version used is not known
    assert store.remove("tiny:1m") == len(NEWER)
    assert [item.size_bytes for item in find_garbage(store, old_versions=True)] == [len(DATA)]


@pytest.mark.parametrize("find_path", [head_path, version_path])
def test_nothing_is_removed_while_another_models_manifest_cannot_be_read(
    store: Store, find_path: Callable[[Store, str], Path]
) -> None:
    manifest = stored_model(store, "tiny:1m")
    stored_model(store, "tiny:2m")
    find_path(store, "tiny:2m").write_bytes(b"{")
    for ask in (
        lambda: store.remove("tiny:1m"),
        lambda: find_garbage(store, old_versions=False),
        lambda: store.drop_blobs([manifest.files[0].digest]),
    ):
        with pytest.raises(IntegrityError, match="localllm rm tiny:2m"):
            ask()
    assert store.find("tiny:1m") == manifest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (hashlib.sha256(DATA).hexdigest(), "../" * 20 + "etc/passwd"),
        (hashlib.sha256(DATA).hexdigest(), "A" * 64),
        ("tiny.Q4_0.gguf", "../../x.gguf"),
        ("tiny.Q4_0.gguf", "tiny.txt"),
        ("tiny:1m", "tiny:2m"),
        (f'"size_bytes": {len(DATA)}', '"size_bytes": -1'),
        ('"format": "gguf"', '"format": "pickle"'),
    ],
)
def test_a_manifest_that_leads_elsewhere_is_damaged(store: Store, old: str, new: str) -> None:
    stored_model(store)
    path = version_path(store)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(IntegrityError, match="is damaged"):
        store.find("tiny:1m")


@pytest.mark.parametrize(
    "version", ["../../../x", "head", "0" * 13, "A" * 12, "x", "", "0" * 12 + "\\n", "ffffffffffff"]
)
def test_a_head_that_leads_elsewhere_is_damaged(store: Store, version: str) -> None:
    manifest = stored_model(store)
    other = stored_model(store, "tiny:2m", NEWER)
    path = head_path(store)
    first = path.read_text()
    path.write_text(first.replace(manifest.version, version, 1))  # in use, but not in the trail
    assert store.survey().manifests == [other]
    path.write_text(first.replace(manifest.version, version))
    assert store.survey().manifests == [other]
    with pytest.raises(IntegrityError, match="is damaged"):
        store.current("tiny:1m")


def test_a_manifest_under_a_wrong_name_is_damaged(store: Store) -> None:
    stored_model(store, "tiny:1m")
    folder_of(store, "tiny:1m").rename(folder_of(store, "tiny:2m"))
    with pytest.raises(IntegrityError, match="it names 'tiny:1m'"):
        store.find("tiny:2m")
    with pytest.raises(IntegrityError, match="localllm rm tiny:2m"):
        find_garbage(store, old_versions=False)  # its blobs are somebody's
    shutil.copytree(folder_of(store, "tiny:2m"), folder_of(store, "tiny:1m"))
    head_path(store, "tiny:2m").write_bytes(head_path(store, "tiny:1m").read_bytes().replace(b"tiny:1m", b"tiny:2m"))
    with pytest.raises(IntegrityError, match="it is of 'tiny:1m'"):
        store.find("tiny:2m")


@pytest.mark.parametrize("stray", ["._head.json", "Backup.json", "notes.txt", "0123.json", "head.json.bak"])
def test_files_of_others_among_the_manifests_are_left_alone(store: Store, stray: str) -> None:
    manifest = stored_model(store)
    (folder_of(store) / stray).write_bytes(b"anything")
    (store.root / "manifests" / ".DS_Store").write_bytes(b"x")
    (store.root / "manifests" / "Backup").mkdir()
    (store.root / "manifests" / "Backup" / "head.json").write_bytes(b"{")
    assert store.survey() == ([manifest], [])
    assert store.remove("tiny:1m") > 0
    assert (folder_of(store) / stray).read_bytes() == b"anything"
    assert find_garbage(store, old_versions=True) == []


@pytest.mark.parametrize("find_path", [head_path, version_path])
def test_what_the_system_refuses_is_said_and_hides_no_other_model(
    store: Store, find_path: Callable[[Store], Path]
) -> None:
    manifest, other = stored_model(store), stored_model(store, "tiny:2m", NEWER)
    path = find_path(store)
    path.unlink()
    path.mkdir()  # root may read what has no permissions, but nobody can read a folder
    with pytest.raises(ModelError, match="cannot read") as caught:
        store.find("tiny:1m")
    assert str(path) in caught.value.message
    assert store.survey().manifests == [other]
    assert "cannot read" in store.survey().damages[0].message
    for ask in (lambda: store.remove("tiny:2m"), lambda: find_garbage(store, old_versions=False)):
        with pytest.raises(ModelError, match="cannot read"):
            ask()
    assert store.path(manifest.files[0]).exists()


def test_folders_that_cannot_be_listed_are_not_taken_for_empty(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stored_model(store)

    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    for ask in (
        store.survey,
        store.references,
        lambda: list(store.blobs.digests()),
        lambda: find_garbage(store, old_versions=False),
        lambda: store.remove("tiny:1m"),
    ):
        with pytest.raises(ModelError, match="Permission denied"):
            ask()
    monkeypatch.undo()
    assert store.find("tiny:1m") is not None


def test_a_reader_follows_a_change_that_comes_between_head_and_manifest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is read; another process updates and cleans up, or removes the model; the manifest is gone."""
    stored_model(store, data=DATA)
    before = store.require("tiny:1m")
    new = stored_model(store, data=NEWER)
    version_path(store, index=0).unlink()
    heads: list[Head | None] = [before]
    real = store.versions.head
    monkeypatch.setattr(store.versions, "head", lambda name: heads.pop() if heads else real(name))
    assert store.current("tiny:1m") == new
    heads.append(before)
    store.versions.drop(ModelName("tiny:1m"))
    heads[:] = [before]
    assert store.current("tiny:1m") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"a": 1}', b"\xff", b"[" * 100_000])
def test_damaged_aliases_are_said(store: Store, damage: bytes) -> None:
    stored_model(store)
    (store.root / "aliases.json").write_bytes(damage)
    for ask in (store.aliases.all, lambda: store.aliases.find("x"), lambda: store.aliases.put("x", "tiny:1m")):
        with pytest.raises(IntegrityError, match="mend or remove the file"):
            ask()
    assert (store.root / "aliases.json").read_bytes() == damage


def test_an_unknown_model_is_not_removed(store: Store) -> None:
    stored_model(store)
    with pytest.raises(ModelNotFound):
        store.remove("tiny:2m")
