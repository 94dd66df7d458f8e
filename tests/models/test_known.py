"""Files that are here already: found by what they contain, and never handed on when they are wrong."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from localllm.models.digest import Digest
from localllm.models.known import KnownFiles
from localllm.models.storage.store import Store
from localllm.models.transfer.expected import Expected
from tests.models.cards import stored_model

DATA = b"GGUF and more"
DIGEST = Digest(hashlib.sha256(DATA).hexdigest())
EXPECTED = Expected(size_bytes=len(DATA), sha256=DIGEST)
GIT_SHA1 = "a" * 40


def overwrite(store: Store, data: bytes) -> None:
    path = store.blobs.path(DIGEST)
    path.chmod(0o600)
    path.write_bytes(data)


def test_an_empty_store_has_nothing(store: Store) -> None:
    known = KnownFiles(store, "tiny:1m")
    assert known.find(EXPECTED) is None
    assert known.lacks(EXPECTED)
    assert not store.root.exists()


@pytest.mark.parametrize("name", ["tiny:1m", "tiny:other"])
def test_a_file_of_whichever_model_is_found(store: Store, name: str) -> None:
    stored_model(store, "tiny:1m", DATA)
    known = KnownFiles(store, name)
    assert known.find(EXPECTED) == DIGEST
    assert not known.lacks(EXPECTED)
    assert known.is_own(DIGEST) == (name == "tiny:1m")
    assert known.find(Expected(size_bytes=len(DATA) + 1, sha256=DIGEST)) is None
    assert KnownFiles(store, name, distrust=[DIGEST]).find(EXPECTED) is None


def test_a_file_that_no_model_uses_is_found_if_it_is_right(store: Store) -> None:
    stored_model(store, "tiny:1m", DATA)
    (store.root / "manifests" / "tiny+1m" / "head.json").unlink()
    assert KnownFiles(store, "tiny:1m").find(EXPECTED) == DIGEST
    overwrite(store, b"x" * len(DATA))
    assert KnownFiles(store, "tiny:1m").find(EXPECTED) is None


def test_damage_in_one_model_does_not_spread_to_another(store: Store) -> None:
    stored_model(store, "tiny:1m", DATA)
    overwrite(store, b"x" * len(DATA))
    assert KnownFiles(store, "tiny:other").find(EXPECTED) is None
    assert KnownFiles(store, "tiny:1m").find(EXPECTED) == DIGEST  # `verify` tells


def test_what_cannot_be_read_is_not_here(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stored_model(store, "tiny:1m", DATA)

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("localllm.models.known.hash_file", refuse)
    assert KnownFiles(store, "tiny:other").find(EXPECTED) is None


def test_a_small_file_is_found_by_what_git_calls_it(store: Store) -> None:
    manifest = stored_model(store, "tiny:1m", DATA)
    file = msgspec.structs.replace(manifest.files[0], git_sha1=GIT_SHA1)
    store.commit(msgspec.structs.replace(manifest, files=(file,)))
    expected = Expected(size_bytes=len(DATA), git_sha1=GIT_SHA1)
    assert KnownFiles(store, "tiny:1m").find(expected) == DIGEST
    assert KnownFiles(store, "tiny:other").find(expected) == DIGEST
    assert KnownFiles(store, "tiny:1m").find(Expected(size_bytes=len(DATA), git_sha1="b" * 40)) is None


def test_damaged_manifests_hide_no_files(store: Store) -> None:
    stored_model(store, "tiny:1m", DATA)
    stored_model(store, "tiny:2m", b"GGUF, the second")
    for name in ("tiny+1m", "tiny+2m"):
        (store.root / "manifests" / name / "head.json").write_bytes(b"{")
    assert KnownFiles(store, "tiny:1m").find(EXPECTED) == DIGEST


def test_a_file_used_in_place_is_not_in_the_store(store: Store, tmp_path: Path) -> None:
    place = tmp_path / "mine.gguf"
    place.write_bytes(DATA)
    manifest = stored_model(store, "tiny:1m", DATA)
    linked = msgspec.structs.replace(manifest.files[0], path=str(place))
    store.commit(msgspec.structs.replace(manifest, name="tiny:linked", files=(linked,)))
    store.remove("tiny:1m")
    assert KnownFiles(store, "tiny:linked").find(EXPECTED) is None
