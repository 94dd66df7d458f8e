"""The store: what is published is found, what is damaged is not, and a file goes with its last model."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from localllm.errors import IntegrityError, ModelError, ModelNotFound
from localllm.models.files import write_durably
from localllm.models.store import Store
from tests.models.cards import stored_model

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions and links")
DATA = b"GGUF and more"


def manifest_path(store: Store, name: str = "tiny:1m") -> Path:
    family, tag = name.split(":")
    return store.root / "manifests" / family / f"{tag}.json"


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def test_an_empty_store_has_nothing_and_creates_nothing(store: Store) -> None:
    assert store.manifests() == []
    assert store.find("tiny:1m") is None
    assert not store.root.exists()


def test_what_is_published_is_found_again(store: Store) -> None:
    manifest = stored_model(store, data=DATA)
    assert Store(store.root.parent).find("tiny:1m") == manifest
    assert store.blob_path(manifest.file.digest).read_bytes() == DATA
    assert store.verify(manifest.file)
    assert not store.part_path(manifest.file.digest).exists()


def test_models_are_listed_by_name(store: Store) -> None:
    for name in ("tiny:9m", "small:1m", "tiny:1m"):
        stored_model(store, name)
    assert [manifest.name for manifest in store.manifests()] == ["small:1m", "tiny:1m", "tiny:9m"]


def test_removing_frees_the_bytes(store: Store) -> None:
    manifest = stored_model(store, data=DATA)
    assert store.remove("tiny:1m") == len(DATA)
    assert store.find("tiny:1m") is None
    assert not store.blob_path(manifest.file.digest).exists()
    with pytest.raises(ModelNotFound, match="localllm list"):
        store.remove("tiny:1m")


def test_a_shared_file_stays_until_its_last_model_goes(store: Store) -> None:
    first, second = stored_model(store, "tiny:1m", DATA), stored_model(store, "tiny:copy", DATA)
    assert first.file == second.file
    assert store.remove("tiny:1m") == 0
    assert store.find("tiny:copy") == second
    assert store.verify(second.file)
    assert store.remove("tiny:copy") == len(DATA)
    assert not store.blob_path(second.file.digest).exists()


def test_other_models_stay_when_one_goes(store: Store) -> None:
    stored_model(store, "tiny:1m", b"GGUF one")
    other = stored_model(store, "tiny:2m", b"GGUF two")
    store.remove("tiny:1m")
    assert store.manifests() == [other]
    assert store.verify(other.file)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"name": "tiny:1m"}', b"\xff\xfe", b"\x00" * 40])
def test_a_damaged_manifest_says_how_to_mend_it_and_can_be_removed(store: Store, damage: bytes) -> None:
    manifest = stored_model(store)
    path = manifest_path(store)
    path.write_bytes(damage)
    for ask in (store.manifests, lambda: store.find("tiny:1m")):
        with pytest.raises(IntegrityError, match="localllm rm tiny:1m") as caught:
            ask()
        assert str(path) in caught.value.message
    assert store.remove("tiny:1m") == 0
    assert store.manifests() == []
    assert store.verify(manifest.file)  # which file it meant is not known, so the bytes stay


def test_a_manifest_that_leads_elsewhere_is_damaged(store: Store) -> None:
    stored_model(store)
    path = manifest_path(store)
    digest = hashlib.sha256(b"GGUF and more").hexdigest()
    path.write_text(path.read_text().replace(digest, "../" * 20 + "etc/passwd"))
    with pytest.raises(IntegrityError, match="sha256"):
        store.find("tiny:1m")


def test_a_manifest_under_a_wrong_name_is_damaged(store: Store) -> None:
    stored_model(store, "tiny:1m")
    manifest_path(store, "tiny:1m").rename(manifest_path(store, "tiny:2m"))
    with pytest.raises(IntegrityError, match="it names 'tiny:1m'"):
        store.find("tiny:2m")


def test_nothing_is_removed_while_another_manifest_cannot_be_read(store: Store) -> None:
    manifest = stored_model(store, "tiny:1m")
    stored_model(store, "tiny:2m")
    manifest_path(store, "tiny:2m").write_bytes(b"{")
    with pytest.raises(IntegrityError, match="localllm rm tiny:2m"):
        store.remove("tiny:1m")
    assert store.find("tiny:1m") == manifest
    assert store.verify(manifest.file)


@pytest.mark.parametrize("stray", ["._1m.json", "Backup.json", "notes.txt", "1m.json.123.part"])
def test_files_of_others_among_the_manifests_are_left_alone(store: Store, stray: str) -> None:
    manifest = stored_model(store)
    manifest_path(store).with_name(stray).write_bytes(b"anything")
    assert store.manifests() == [manifest]
    assert store.remove("tiny:1m") > 0


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x"])
def test_a_file_of_another_length_is_not_there(store: Store, data: bytes) -> None:
    manifest = stored_model(store, data=DATA)
    overwrite(store.blob_path(manifest.file.digest), data)
    assert store.find("tiny:1m") is None
    assert not store.verify(manifest.file)


def test_a_lost_file_is_not_there_and_its_model_can_be_removed(store: Store) -> None:
    manifest = stored_model(store)
    store.blob_path(manifest.file.digest).unlink()
    assert store.find("tiny:1m") is None
    assert not store.verify(manifest.file)
    assert store.remove("tiny:1m") == 0


def test_one_wrong_bit_is_noticed_by_verifying(store: Store) -> None:
    manifest = stored_model(store, data=DATA)
    overwrite(store.blob_path(manifest.file.digest), DATA[:-1] + b"\x00")
    assert not store.verify(manifest.file)


def test_publishing_replaces_a_damaged_file(store: Store) -> None:
    manifest = stored_model(store, data=DATA)
    overwrite(store.blob_path(manifest.file.digest), b"x" * len(DATA))
    stored_model(store, data=DATA)
    assert store.verify(manifest.file)


@pytest.mark.parametrize("name", ["", "tiny", "../../etc:passwd", "tiny:../x", "tiny:a/b", "/:x", "con:1", "Tiny:1m"])
def test_what_cannot_be_a_name_never_becomes_a_path(store: Store, name: str) -> None:
    with pytest.raises(ModelNotFound, match="is no model name"):
        store.find(name)
    with pytest.raises(ModelNotFound, match="is no model name"):
        store.remove(name)
    assert not store.root.exists()


@POSIX
def test_the_store_is_this_users_alone_and_its_files_are_read_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(tmp_path / "deep" / "home")
        manifest = stored_model(store)
    finally:
        os.umask(before)
    folders = [store.root.parent.parent, store.root.parent, *(path for path in store.root.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (*folders, store.root)} == {0o700}
    assert stat.S_IMODE(store.blob_path(manifest.file.digest).stat().st_mode) == 0o400
    assert stat.S_IMODE(manifest_path(store).stat().st_mode) == 0o600


@POSIX
def test_what_the_system_refuses_is_said(store: Store) -> None:
    manifest = stored_model(store)
    path = manifest_path(store)
    path.unlink()
    path.mkdir()  # root may read what has no permissions, but nobody can read a folder
    with pytest.raises(ModelError, match="cannot read") as caught:
        store.find("tiny:1m")
    assert str(path) in caught.value.message
    with pytest.raises(ModelError, match="cannot"):
        store.remove("tiny:1m")
    assert store.verify(manifest.file)


def test_a_home_that_is_no_folder_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = Store(tmp_path / "file")
    assert store.manifests() == []
    assert store.find("tiny:1m") is None


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "1m.json"
    write_durably(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
