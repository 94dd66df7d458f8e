"""Garbage: what nobody uses is found and goes, what somebody uses or is at work on stays."""

import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from localllm.errors import InvalidRequest
from localllm.models.digest import Digest
from localllm.models.names import ModelName
from localllm.models.storage.garbage import Garbage, collect_garbage, find_garbage
from localllm.models.storage.store import Store
from tests.marks import slow
from tests.models.cards import part_of, stored_files, stored_model
from tests.models.storage.steps import leave_strays, unexplained
from tests.models.storage.test_locks import holder

DATA, NEWER, NEWEST = b"GGUF and more", b"GGUF, the second", b"GGUF, of the third kind"


def publish(store: Store, data: bytes) -> Digest:
    """A blob that no model uses, as a pull leaves it that was cut off before its manifest."""
    digest = Digest(hashlib.sha256(data).hexdigest())
    part = part_of(store, data)
    part.write_bytes(data)
    store.blobs.publish(part, digest)
    return digest


def found(store: Store, *, old_versions: bool = False) -> dict[str, int]:
    return {f"{item.kind} {item.what}": item.size_bytes for item in find_garbage(store, old_versions=old_versions)}


def everything(store: Store) -> set[Path]:
    return set(store.root.rglob("*"))


def test_an_empty_store_has_none(store: Store) -> None:
    assert find_garbage(store, old_versions=True) == []
    assert collect_garbage(store, []) == 0
    assert not store.root.exists()


def test_a_store_in_use_has_none(store: Store) -> None:
    stored_model(store, data=DATA)
    store.aliases.put("short", "tiny:1m")
    assert found(store, old_versions=True) == {}


def test_a_blob_that_nothing_uses_goes(store: Store) -> None:
    stored_model(store, data=DATA)
    unused = publish(store, NEWER)
    before = everything(store)
    assert found(store) == {f"blob {unused}": len(NEWER)}
    assert unused in msgspec.json.encode(find_garbage(store, old_versions=False)).decode()
    assert everything(store) == before  # looking changes nothing
    assert collect_garbage(store, find_garbage(store, old_versions=False)) == len(NEWER)
    assert found(store) == {}
    assert store.find("tiny:1m") is not None


def test_a_blob_that_somebody_is_bringing_stays(store: Store) -> None:
    unused = publish(store, NEWER)
    garbage = find_garbage(store, old_versions=False)
    with holder(store.root / "locks", unused):
        assert found(store) == {}
        assert collect_garbage(store, garbage) == 0
        assert store.drop_blobs([unused]) == 0
    assert store.blobs.size(unused) == len(NEWER)
    assert collect_garbage(store, garbage) == len(NEWER)


def test_what_came_into_use_since_it_was_found_stays(store: Store) -> None:
    unused = publish(store, NEWER)
    garbage = find_garbage(store, old_versions=False)
    manifest = stored_model(store, data=NEWER)
    assert collect_garbage(store, garbage) == 0
    assert store.find("tiny:1m") == manifest
    assert store.drop_blobs([unused]) == 0


def test_many_blobs_go(store: Store) -> None:
    """More than a process may have open files on some systems, were each lock held until the end."""
    for index in range(150):
        publish(store, b"%d" % index)
    kept = publish(store, b"kept")
    stored_model(store, data=b"kept")
    collect_garbage(store, find_garbage(store, old_versions=False))
    assert list(store.blobs.digests()) == [kept]


@pytest.mark.parametrize(
    "name",
    [
        *(f"{'a' * 64}.part", slow(f"{'a' * 64}.part.map"), slow(f"{'a' * 64}.map"), slow(f"git-{'b' * 40}.part")),
        *(f"wheel-{'a' * 64}", slow(f"wheel-git-{'b' * 40}"), f"import-{'c' * 32}-0.part"),
    ],
)
def test_a_download_that_was_given_up_goes_unless_somebody_is_at_work_on_it(store: Store, name: str) -> None:
    stored_model(store)
    path = store.root / "parts" / name
    if name.startswith("wheel"):
        (path / "deeper").mkdir(parents=True)
        (path / "deeper" / "file").write_bytes(b"x" * 5000)
    else:
        path.write_bytes(b"x" * 5000)
    key = name.removeprefix("wheel-").partition(".")[0].removesuffix("-0")
    with holder(store.root / "locks", key):
        assert found(store) == {}
        assert collect_garbage(store, [Garbage(kind="part", what=name, size_bytes=1)]) == 0
        assert path.exists()
    garbage = find_garbage(store, old_versions=False)
    assert [(item.kind, item.what) for item in garbage] == [("part", name)]
    assert collect_garbage(store, garbage) == garbage[0].size_bytes > 0
    assert not path.exists()
    assert collect_garbage(store, garbage) == 0  # somebody else was faster


@pytest.mark.skipif(os.name == "nt", reason="needs sparse files")
def test_a_part_counts_what_it_takes_on_disk(store: Store) -> None:
    part = part_of(store, DATA)
    with part.open("wb") as file:
        file.write(b"x" * 4096)
        file.truncate(2**30)
    (item,) = find_garbage(store, old_versions=False)
    assert 0 < item.size_bytes < 2**20


@pytest.mark.parametrize(
    "name", ["notes.txt", "x.part", f"{'A' * 64}.part", f"{'a' * 63}.part", "import-1.part", ".keep"]
)
def test_files_of_others_among_the_parts_are_left_alone(store: Store, name: str) -> None:
    part_of(store, DATA).with_name(name).write_bytes(b"x")
    assert found(store) == {}
    assert collect_garbage(store, [Garbage(kind="part", what=name, size_bytes=1)]) == 0
    assert (store.root / "parts" / name).exists()


def test_old_versions_go_when_wanted_and_take_their_files_along(store: Store) -> None:
    first, second, third = (stored_model(store, data=data) for data in (DATA, NEWER, NEWEST))
    stored_model(store, "tiny:copy", NEWER)
    assert found(store) == {}
    assert found(store, old_versions=True) == {
        f"version tiny:1m {first.version}": len(DATA),
        f"version tiny:1m {second.version}": 0,  # another model uses the file
    }
    assert collect_garbage(store, find_garbage(store, old_versions=True)) == len(DATA)
    assert store.require("tiny:1m").trail == (third.version,)
    assert store.find("tiny:1m") == third
    assert store.find("tiny:copy") is not None
    assert unexplained(store) == set()
    with pytest.raises(InvalidRequest, match="no earlier version"):
        store.rollback("tiny:1m")


def test_a_file_of_two_old_versions_counts_once_and_goes_with_both(store: Store) -> None:
    for extra in (b"GGUF 1", b"GGUF 2"):
        stored_files(store, "tiny:1m", {"a.gguf": DATA, "b.gguf": extra})
    stored_files(store, "tiny:1m", {"a.gguf": NEWER})
    sizes = found(store, old_versions=True)
    assert sorted(sizes.values()) == [len(b"GGUF 2"), len(DATA) + len(b"GGUF 1")]
    assert collect_garbage(store, find_garbage(store, old_versions=True)) == sum(sizes.values())
    assert unexplained(store) == set()


def test_versions_that_came_later_than_the_one_in_use_are_old_too(store: Store) -> None:
    first, second = stored_model(store, data=DATA), stored_model(store, data=NEWER)
    store.rollback("tiny:1m")
    assert found(store, old_versions=True) == {f"version tiny:1m {second.version}": len(NEWER)}
    collect_garbage(store, find_garbage(store, old_versions=True))
    assert store.find("tiny:1m") == first


def test_a_pinned_models_versions_stay(store: Store) -> None:
    for data in (DATA, NEWER):
        stored_model(store, data=data)
    garbage = find_garbage(store, old_versions=True)
    store.set_pinned("tiny:1m", True)
    assert found(store, old_versions=True) == {}
    assert collect_garbage(store, garbage) == 0
    assert len(store.versions.trail(ModelName("tiny:1m"))) == 2


@pytest.mark.parametrize("change", ["rollback", "remove"])
def test_a_version_that_changed_its_role_since_it_was_found_stays_or_is_gone(store: Store, change: str) -> None:
    first, second = stored_model(store, data=DATA), stored_model(store, data=NEWER)
    garbage = find_garbage(store, old_versions=True)
    if change == "rollback":
        store.rollback("tiny:1m")
    else:
        store.remove("tiny:1m")
    assert collect_garbage(store, garbage) == 0
    assert store.find("tiny:1m") == (first if change == "rollback" else None)
    assert change == "remove" or store.rollback("tiny:1m", second.version) == second


def test_the_blob_of_a_file_that_is_used_in_place_is_garbage(store: Store, tmp_path: Path) -> None:
    manifest = stored_model(store, data=DATA)
    (tmp_path / "mine.gguf").write_bytes(DATA)
    linked = msgspec.structs.replace(manifest.files[0], path=str(tmp_path / "mine.gguf"))
    store.commit(msgspec.structs.replace(manifest, files=(linked,)))
    assert found(store) == {f"blob {linked.sha256}": len(DATA)}
    collect_garbage(store, find_garbage(store, old_versions=True))
    assert store.find("tiny:1m") is not None
    assert (tmp_path / "mine.gguf").read_bytes() == DATA


def test_what_cut_off_changes_left_goes(store: Store) -> None:
    manifest = stored_model(store, "tiny:1m", DATA)
    leave_strays(store)
    assert set(found(store)) == {
        "stray aliases.json.4711.part",
        "stray manifests/tiny+1m/head.json.4711.part",
        f"stray manifests/tiny+1m/{'0' * 12}.json",
        f"stray manifests/never+published/{'1' * 12}.json",
        "stray manifests/never+published",
    }
    assert collect_garbage(store, find_garbage(store, old_versions=False)) == 0
    assert found(store) == {}
    assert unexplained(store) == set()
    assert not (store.root / "manifests" / "never+published").exists()
    assert store.find("tiny:1m") == manifest


def test_a_stray_that_came_into_use_since_it_was_found_stays(store: Store) -> None:
    manifest = stored_model(store, "tiny:1m", DATA)
    head = store.root / "manifests" / "tiny+1m" / "head.json"
    aside = head.read_bytes()
    head.unlink()  # as before the end of a commit
    garbage = find_garbage(store, old_versions=False)
    assert {item.kind for item in garbage} == {"blob", "stray"}
    head.write_bytes(aside)
    assert collect_garbage(store, garbage) == 0
    assert store.find("tiny:1m") == manifest


@pytest.mark.parametrize("what", ["../../precious", "aliases.json", "manifests/tiny+1m/head.json", "blobs"])
def test_only_what_would_be_found_is_removed(store: Store, what: str, tmp_path: Path) -> None:
    manifest = stored_model(store)
    store.aliases.put("short", "tiny:1m")
    (tmp_path / "precious").write_bytes(b"x")
    for kind in ("stray", "part"):
        assert collect_garbage(store, [Garbage(kind=kind, what=what, size_bytes=0)]) == 0
    assert (tmp_path / "precious").exists()
    assert store.find("tiny:1m") == manifest
    assert store.aliases.all() == {"short": "tiny:1m"}
