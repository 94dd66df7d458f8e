"""The store: what is published is found, versions come and go back, and a file goes with its last model."""

import os
import stat
from pathlib import Path

import msgspec
import pytest

from localllm.errors import IntegrityError, InvalidRequest, ModelError, ModelNotFound
from localllm.models.card import HubSource
from localllm.models.digest import Digest
from localllm.models.manifest import FileSource, Manifest, StoredFile, version_of
from localllm.models.names import ModelName
from localllm.models.storage.store import Store
from tests.models.cards import stored_files, stored_model

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
DATA, NEWER, NEWEST = b"GGUF and more", b"GGUF, the second", b"GGUF, of the third kind"


def blob_of(store: Store, manifest: Manifest) -> Path:
    return store.path(manifest.files[0])


def test_an_empty_store_has_nothing_and_creates_nothing(store: Store) -> None:
    assert store.survey() == ([], [])
    assert store.find("tiny:1m") is None
    assert store.current("tiny:1m") is None
    assert store.references() == set()
    assert not store.root.exists()


def test_what_is_published_is_found_again(store: Store) -> None:
    manifest = stored_model(store, data=DATA)
    again = Store(store.root.parent)
    assert again.find("tiny:1m") == again.current("tiny:1m") == manifest
    assert again.survey() == ([manifest], [])
    assert blob_of(again, manifest).read_bytes() == DATA
    assert not list(store.root.glob("parts/*"))


def test_models_are_listed_by_name(store: Store) -> None:
    for name in ("tiny:9m", "some-org/big:q4", "Tiny.x:1m", "small:1m", "tiny:1m"):
        stored_model(store, name)
    assert [manifest.name for manifest in store.survey().manifests] == [
        *("small:1m", "some-org/big:q4", "Tiny.x:1m", "tiny:1m", "tiny:9m")
    ]


def test_removing_frees_the_bytes(store: Store) -> None:
    manifest = stored_model(store, data=DATA)
    assert store.remove("tiny:1m") == len(DATA)
    assert store.find("tiny:1m") is None
    assert not blob_of(store, manifest).exists()
    assert not list(store.root.glob("manifests/*"))
    with pytest.raises(ModelNotFound, match="localllm list"):
        store.remove("tiny:1m")


def test_removing_takes_every_version(store: Store) -> None:
    for data in (DATA, NEWER):
        stored_model(store, data=data)
    assert store.remove("tiny:1m") == len(DATA) + len(NEWER)
    assert not list(store.root.glob("blobs/*"))


def test_a_shared_file_stays_until_its_last_model_goes(store: Store) -> None:
    first, second = stored_model(store, "tiny:1m", DATA), stored_model(store, "tiny:copy", DATA)
    assert first.files == second.files
    assert store.remove("tiny:1m") == 0
    assert store.find("tiny:copy") == second
    assert blob_of(store, second).read_bytes() == DATA
    assert store.remove("tiny:copy") == len(DATA)
    assert not blob_of(store, second).exists()


def test_a_file_of_another_models_earlier_version_stays(store: Store) -> None:
    stored_model(store, "tiny:1m", DATA)
    old = stored_model(store, "tiny:2m", DATA)
    stored_model(store, "tiny:2m", NEWER)
    assert store.remove("tiny:1m") == 0
    assert store.rollback("tiny:2m") == old


def test_a_model_of_many_files_comes_and_goes(store: Store) -> None:
    files = {f"tiny-{index:05d}-of-00150.gguf": b"GGUF %d" % index for index in range(1, 151)}
    manifest = stored_files(store, "tiny:1m", files)
    assert [file.filename for file in manifest.weights] == list(files)
    assert manifest.size_bytes == sum(map(len, files.values()))
    assert store.find("tiny:1m") == manifest
    assert store.remove("tiny:1m") == manifest.size_bytes
    assert not list(store.root.glob("blobs/*"))


def test_versions_come_one_after_another_and_go_back(store: Store) -> None:
    versions = [stored_model(store, data=data) for data in (DATA, NEWER, NEWEST)]
    assert store.versions.trail(ModelName("tiny:1m")) == versions
    assert store.find("tiny:1m") == versions[2]
    assert store.rollback("tiny:1m") == versions[1]
    assert store.rollback("tiny:1m") == versions[0]
    with pytest.raises(InvalidRequest, match="no earlier version of tiny:1m; see: localllm history"):
        store.rollback("tiny:1m")
    assert store.find("tiny:1m") == versions[0]
    assert store.rollback("tiny:1m", versions[2].version[:4].upper()) == versions[2]
    assert store.require("tiny:1m").trail == tuple(manifest.version for manifest in versions)


def test_a_version_that_comes_again_is_the_latest(store: Store) -> None:
    first, second = stored_model(store, data=DATA), stored_model(store, data=NEWER)
    assert stored_model(store, data=DATA, created=2) == first
    assert store.require("tiny:1m").trail == (second.version, first.version)
    assert store.rollback("tiny:1m") == second


def test_the_version_in_use_comes_again_with_other_words(store: Store) -> None:
    first = stored_model(store, data=DATA, created=1)
    again = stored_model(store, data=DATA, created=2, follows="main", license="mit")
    assert again == store.find("tiny:1m")
    assert (again.created, again.follows, again.version) == (1, "main", first.version)
    assert store.require("tiny:1m").trail == (first.version,)


@pytest.mark.parametrize("version", ["", "x", "zzzz", "../../etc/passwd", "head", "\0", "0" * 13, "٠"])
def test_what_begins_no_version_is_refused(store: Store, version: str) -> None:
    stored_model(store)
    with pytest.raises(InvalidRequest, match="no version of tiny:1m begins with"):
        store.rollback("tiny:1m", version)


def test_what_begins_several_versions_is_refused(store: Store) -> None:
    versions = [stored_model(store, data=b"GGUF %d" % index).version for index in range(17)]  # of 16 first digits
    digit = next(digit for digit in "0123456789abcdef" if sum(version[0] == digit for version in versions) > 1)
    with pytest.raises(InvalidRequest, match="more than one version of tiny:1m begins with"):
        store.rollback("tiny:1m", digit)


def test_a_version_whose_files_are_gone_is_not_put_into_use(store: Store) -> None:
    old = stored_model(store, data=DATA)
    new = stored_model(store, data=NEWER)
    blob_of(store, old).unlink()
    with pytest.raises(InvalidRequest, match=f"tiny:1m stays at {new.version}"):
        store.rollback("tiny:1m")
    assert store.find("tiny:1m") == new


def test_a_pin_stays_until_it_is_taken_off(store: Store) -> None:
    stored_model(store, data=DATA)
    assert store.set_pinned("tiny:1m", True).is_pinned
    stored_model(store, data=NEWER)
    store.rollback("tiny:1m")
    assert store.require("tiny:1m").is_pinned
    assert not store.set_pinned("tiny:1m", False).is_pinned
    for ask in (store.require, store.rollback, lambda name: store.set_pinned(name, True)):
        with pytest.raises(ModelNotFound, match="there is no model 'tiny:9m'"):
            ask("tiny:9m")


def test_case_tells_no_models_apart(store: Store) -> None:
    first = stored_model(store, "Org/Repo:Q4", DATA)
    second = stored_model(store, "org/repo:q4", NEWER)
    assert second.name == "Org/Repo:Q4"
    assert store.survey() == ([second], [])
    for name in ("Org/Repo:Q4", "org/repo:q4", "ORG/REPO:Q4"):
        assert store.find(name) == second
    assert store.rollback("ORG/repo:q4") == first
    assert store.set_pinned("org/Repo:Q4", True).name == "Org/Repo:Q4"
    assert store.remove("org/REPO:q4") == len(DATA) + len(NEWER)
    assert store.survey() == ([], [])


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x"])
def test_a_file_of_another_length_is_not_there(store: Store, data: bytes) -> None:
    manifest = stored_model(store, data=DATA)
    blob_of(store, manifest).chmod(0o600)
    blob_of(store, manifest).write_bytes(data)
    assert store.find("tiny:1m") is None
    assert store.current("tiny:1m") == manifest
    assert store.survey().manifests == [manifest]


def test_a_lost_file_is_not_there_and_its_model_can_be_removed(store: Store) -> None:
    manifest = stored_model(store)
    blob_of(store, manifest).unlink()
    assert store.find("tiny:1m") is None
    assert store.remove("tiny:1m") == 0
    assert store.survey() == ([], [])


def test_a_version_without_its_files_is_not_committed(store: Store) -> None:
    manifest = stored_model(store, data=DATA)
    copy = msgspec.structs.replace(manifest, name="tiny:copy")
    store.remove("tiny:1m")
    with pytest.raises(IntegrityError, match="was removed or changed meanwhile; fetch the model again"):
        store.commit(copy)
    assert store.survey() == ([], [])
    assert not store.versions.has(ModelName("tiny:copy"))


def test_a_file_used_in_place_is_never_removed(store: Store, tmp_path: Path) -> None:
    place = tmp_path / "mine.gguf"
    place.write_bytes(DATA)
    copied = stored_model(store, "tiny:copied", DATA)
    linked = msgspec.structs.replace(
        copied.files[0], path=str(place), modified_ns=place.stat().st_mtime_ns, origin=FileSource(path=str(place))
    )
    manifest = store.commit(msgspec.structs.replace(copied, name="tiny:linked", files=(linked,)))
    assert store.path(manifest.files[0]) == place
    assert manifest.own_files == ()
    assert store.remove("tiny:copied") == len(DATA)  # the one in place is no user of the blob
    assert store.find("tiny:linked") == manifest
    assert store.remove("tiny:linked") == 0
    assert place.read_bytes() == DATA


@pytest.mark.parametrize("name", ["", "tiny", "../../etc:passwd", "tiny:../x", "tiny:a/b", "/:x", "con:1", "a:b\n"])
def test_what_cannot_be_a_name_never_becomes_a_path(store: Store, name: str) -> None:
    for ask in (store.find, store.current, store.remove):
        with pytest.raises(ModelNotFound, match="is no model name"):
            ask(name)
    assert not store.root.exists()


@pytest.mark.parametrize("key", ["../x", "a/b", "a\\b", "x\0", "", "..", "a\n", "/etc/passwd", "x" * 300, "a:b"])
def test_what_cannot_name_a_download_or_a_lock_never_becomes_a_path(store: Store, key: str) -> None:
    if key:
        with pytest.raises(IntegrityError, match="not a plain file name"):
            store.scratch_path(key)
    for ask in (store.part_path, lambda key: store.locks.take(key).__enter__(), store.locks.is_held):
        with pytest.raises(IntegrityError, match="not a plain file name"):
            ask(key)


@pytest.mark.parametrize("filename", ["../x.gguf", "a/b.gguf", "", "x.gguf\n", "con.gguf", "..", "a\\b.gguf"])
def test_what_is_no_file_name_is_never_stored(filename: str) -> None:
    origin = HubSource(repository="a/b", revision="0" * 40, filename="x.gguf")
    with pytest.raises(IntegrityError, match="not a plain file name"):
        StoredFile(filename=filename, size_bytes=1, sha256="0" * 64, origin=origin)


def test_a_version_follows_from_names_and_bytes_alone(store: Store) -> None:
    files = stored_files(store, "tiny:1m", {"a.gguf": b"GGUF a", "b.gguf": b"GGUF b"}).files
    version = version_of(files)
    assert version_of(reversed(files)) == version
    elsewhere = [msgspec.structs.replace(file, origin=FileSource(path="/x"), path="/x") for file in files]
    assert version_of(elsewhere) == version
    swapped = [
        msgspec.structs.replace(file, filename=other.filename)
        for file, other in zip(files, reversed(files), strict=True)
    ]
    assert version_of(swapped) != version
    assert version_of(files[:1]) != version


@POSIX
def test_the_store_is_this_users_alone_and_its_files_are_read_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(tmp_path / "deep" / "home")
        manifest = stored_model(store)
        with store.changing("write"):
            store.aliases.put("short", "tiny:1m")
    finally:
        os.umask(before)
    folders = [path for path in (tmp_path / "deep").rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (*folders, tmp_path / "deep")} == {0o700}
    files = {path: stat.S_IMODE(path.stat().st_mode) for path in store.root.rglob("*") if path.is_file()}
    assert files.pop(blob_of(store, manifest)) == 0o400
    assert set(files.values()) == {0o600}
    assert len(files) == 4  # version, head, aliases, lock


def test_publishing_replaces_a_damaged_file(store: Store) -> None:
    manifest = stored_model(store, data=DATA)
    blob_of(store, manifest).chmod(0o600)
    blob_of(store, manifest).write_bytes(b"x" * len(DATA))
    assert stored_model(store, data=DATA) == manifest
    assert blob_of(store, manifest).read_bytes() == DATA


def test_files_of_others_among_the_blobs_are_left_alone(store: Store) -> None:
    manifest = stored_model(store, data=DATA)
    for name in ("notes.txt", "sha256-", "sha256-xyz", f"sha256-{'A' * 64}", f"sha512-{'0' * 64}"):
        (store.root / "blobs" / name).write_bytes(b"x")
    assert list(store.blobs.digests()) == [Digest(manifest.files[0].sha256)]


def test_a_home_that_is_no_folder_is_empty_and_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = Store(tmp_path / "file")
    assert store.survey() == ([], [])
    assert store.find("tiny:1m") is None
    assert store.aliases.all() == {}
    manifest = stored_model(Store(tmp_path / "other"))
    for ask in (
        lambda: store.part_path("x"),
        lambda: store.commit(manifest),
        lambda: store.drop_blobs([Digest("0" * 64)]),
    ):
        with pytest.raises(ModelError, match="cannot"):
            ask()
