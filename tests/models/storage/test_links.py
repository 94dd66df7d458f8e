"""Planted links: what they point to is neither changed nor used, and what stands in the way is said."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from localllm.errors import ModelError
from localllm.models.names import ModelName
from localllm.models.storage.garbage import collect_garbage, find_garbage
from localllm.models.storage.store import Store
from tests.models.cards import part_of, stored_model

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs links")
DATA, NEWER = b"GGUF and more", b"GGUF, the second"


class Target(NamedTuple):
    """A file that is none of the store's business."""

    path: Path

    def assert_unchanged(self) -> None:
        assert self.path.read_bytes() == DATA
        assert stat.S_IMODE(self.path.stat().st_mode) == 0o644


@pytest.fixture
def target(tmp_path: Path) -> Target:
    path = tmp_path / "precious"
    path.write_bytes(DATA)
    path.chmod(0o644)
    return Target(path)


@pytest.fixture(params=["symbolic", "hard"])
def plant(request: pytest.FixtureRequest, target: Target) -> Callable[[Path], None]:
    """Puts a link to the target at a path."""

    def put(path: Path) -> None:
        path.unlink(missing_ok=True)
        if request.param == "hard":
            path.hardlink_to(target.path)
        else:
            path.symlink_to(target.path)

    return put


def test_a_link_in_the_place_of_a_blob_is_replaced_by_the_file(
    store: Store, plant: Callable[[Path], None], target: Target
) -> None:
    manifest = stored_model(store, data=DATA)
    blob = store.path(manifest.files[0])
    plant(blob)
    if blob.is_symlink():
        assert store.find("tiny:1m") is None  # of the same size
    stored_model(store, data=DATA)
    assert not blob.is_symlink()
    assert blob.stat().st_nlink == 1
    assert store.find("tiny:1m") == manifest
    target.assert_unchanged()


def test_a_link_in_the_place_of_a_blob_goes_alone(store: Store, plant: Callable[[Path], None], target: Target) -> None:
    manifest = stored_model(store, data=DATA)
    plant(store.path(manifest.files[0]))
    store.remove("tiny:1m")
    assert not os.path.lexists(store.path(manifest.files[0]))
    target.assert_unchanged()


def test_a_link_in_the_place_of_a_download_is_refused(
    store: Store, plant: Callable[[Path], None], target: Target
) -> None:
    digest = stored_model(store, data=DATA).files[0].digest
    part = part_of(store, DATA)
    plant(part)
    with pytest.raises(ModelError, match="is not a plain file of yours"):
        store.blobs.publish(part, digest)
    assert store.find("tiny:1m") is not None
    assert {item.what for item in find_garbage(store, old_versions=False)} == {part.name}
    collect_garbage(store, find_garbage(store, old_versions=False))
    assert not os.path.lexists(part)
    target.assert_unchanged()


@pytest.mark.parametrize("file", ["head.json", "{version}.json", "head.json.{pid}.part", "{version}.json.{pid}.part"])
def test_a_link_in_the_place_of_a_manifest_is_replaced(
    store: Store, plant: Callable[[Path], None], target: Target, file: str
) -> None:
    manifest = stored_model(store, data=NEWER)
    store.remove("tiny:1m")
    folder = store.root / "manifests" / ModelName("tiny:1m").folder
    folder.mkdir(parents=True)
    path = folder / file.format(version=manifest.version, pid=os.getpid())
    plant(path)
    assert stored_model(store, data=NEWER) == manifest
    assert store.set_pinned("tiny:1m", True).is_pinned
    assert not path.is_symlink()
    assert store.find("tiny:1m") == manifest
    store.remove("tiny:1m")
    target.assert_unchanged()


@pytest.mark.parametrize("file", ["aliases.json", "aliases.json.{pid}.part"])
def test_a_link_in_the_place_of_the_aliases_is_replaced(
    store: Store, plant: Callable[[Path], None], target: Target, file: str
) -> None:
    stored_model(store)
    target.path.write_bytes(b"{}")
    path = store.root / file.format(pid=os.getpid())
    plant(path)
    store.aliases.put("short", "tiny:1m")
    assert not path.is_symlink()
    assert store.aliases.all() == {"short": "tiny:1m"}
    assert target.path.read_bytes() == b"{}"


@pytest.mark.parametrize("is_hard", [False, True])
def test_a_link_in_the_place_of_a_lock_leads_nowhere(store: Store, target: Target, is_hard: bool) -> None:
    manifest = stored_model(store, data=DATA)
    path = store.root / "locks" / "store.lock"
    path.unlink()
    if is_hard:
        path.hardlink_to(target.path)
        assert stored_model(store, data=NEWER).version != manifest.version
    else:
        path.symlink_to(target.path)
        with pytest.raises(ModelError, match="cannot lock"):
            stored_model(store, data=NEWER)
        assert store.find("tiny:1m") == manifest
    target.assert_unchanged()


def test_a_dangling_link_in_the_place_of_a_lock_creates_nothing(store: Store, tmp_path: Path) -> None:
    stored_model(store, data=DATA)
    path = store.root / "locks" / "store.lock"
    path.unlink()
    path.symlink_to(tmp_path / "created")
    with pytest.raises(ModelError, match="cannot lock"):
        stored_model(store, data=NEWER)
    assert not (tmp_path / "created").exists()


def test_a_link_to_a_folder_among_the_downloads_goes_alone(store: Store, tmp_path: Path, target: Target) -> None:
    stored_model(store)
    folder = tmp_path / "folder"
    folder.mkdir()
    target.path.rename(folder / "precious")
    scratch = store.scratch_path("0" * 64)
    scratch.symlink_to(folder)
    collect_garbage(store, find_garbage(store, old_versions=False))
    assert not scratch.is_symlink()
    Target(folder / "precious").assert_unchanged()


@pytest.mark.parametrize("path", ["manifests/tiny+1m/head.json", "aliases.json"])
def test_a_pipe_is_not_waited_for(store: Store, path: str) -> None:
    stored_model(store)
    (store.root / path).unlink(missing_ok=True)
    os.mkfifo(store.root / path)
    with pytest.raises(ModelError, match="not a regular file"):
        find(store)


def find(store: Store) -> None:
    store.aliases.find("short")
    store.find("tiny:1m")


def test_a_manifest_without_end_is_not_read(store: Store) -> None:
    stored_model(store)
    with (store.root / "manifests" / "tiny+1m" / "head.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ModelError, match="File too large"):
        store.find("tiny:1m")
