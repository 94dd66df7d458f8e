"""Verifying: what is wrong with a file is found and said, and nothing else is."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from localllm.errors import IntegrityError
from localllm.models.digest import Digest
from localllm.models.manifest import FileSource, Manifest
from localllm.models.storage.blobs import hash_file
from localllm.models.storage.store import Store
from localllm.models.verify import Fault, ModelCheck, require_right, verify
from tests.models.cards import stored_files, stored_model
from tests.models.pte.programs import TOKENIZER, program


def check(manifest: Manifest, store: Store) -> ModelCheck:
    return verify(manifest, store, lambda done, total: None)


def faults(manifest: Manifest, store: Store) -> list[Fault | None]:
    return [file.fault for file in check(manifest, store).files]


def linked_to(store: Store, manifest: Manifest, place: Path) -> Manifest:
    """A model of the same file, used in place."""
    linked = msgspec.structs.replace(manifest.files[0], path=str(place), origin=FileSource(path=str(place)))
    return msgspec.structs.replace(manifest, name="tiny:linked", files=(linked,))


def damaged(edit: Callable[[bytearray], bytearray | bytes], path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(edit(bytearray(path.read_bytes())))


def test_what_is_right_is_right(store: Store, data: bytes) -> None:
    manifest = stored_model(store, data=data)
    result = check(manifest, store)
    assert (result.name, result.version, result.broken) == ("tiny:1m", manifest.version, ())
    assert [file.path for file in result.files] == [str(store.path(manifest.files[0]))]
    require_right(result)


@pytest.mark.parametrize(("data", "fault"), [(program(), None), (program()[:-1], "bad header"), (b"x", "bad header")])
def test_the_program_of_an_exported_model_is_looked_at(store: Store, data: bytes, fault: Fault | None) -> None:
    files = {"model.pte": data, "tokenizer.json": TOKENIZER}
    assert faults(stored_files(store, "tiny:pte", files, format="pte"), store) == [fault, None]


def flip(position: int) -> Callable[[bytearray], bytearray]:
    def edit(data: bytearray) -> bytearray:
        data[position // 8] ^= 1 << position % 8
        return data

    return edit


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda data: data[:-1], "wrong size"),
        (lambda data: data + b"x", "wrong size"),
        (lambda data: b"", "wrong size"),
        (flip(0), "wrong bytes"),
        (lambda data: bytes(len(data)), "wrong bytes"),
    ],
)
def test_damage_is_named(store: Store, data: bytes, edit: Callable[[bytearray], bytes], fault: Fault) -> None:
    manifest = stored_model(store, data=data)
    damaged(edit, store.path(manifest.files[0]))
    result = check(manifest, store)
    assert [file.fault for file in result.broken] == [fault]
    with pytest.raises(IntegrityError, match=rf"tiny.Q4_0.gguf: {fault} \(.*localllm repair tiny:1m") as caught:
        require_right(result)
    assert "\n" not in caught.value.message


def test_a_hundred_flipped_bits_are_found_one_by_one(store: Store, data: bytes) -> None:
    manifest = stored_model(store, data=data)
    path = store.path(manifest.files[0])
    choose = random.Random(0)
    for position in choose.sample(range(len(data) * 8), 100):
        damaged(flip(position), path)
        assert faults(manifest, store) == ["wrong bytes"]
        damaged(flip(position), path)
    assert faults(manifest, store) == [None]


def test_a_lost_file_is_missing(store: Store, data: bytes) -> None:
    manifest = stored_model(store, data=data)
    store.path(manifest.files[0]).unlink()
    assert faults(manifest, store) == ["missing"]
    shutil.rmtree(store.root / "blobs")
    assert faults(manifest, store) == ["missing"]


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_in_the_place_of_a_file_is_no_file(store: Store, data: bytes, tmp_path: Path) -> None:
    manifest = stored_model(store, data=data)
    path = store.path(manifest.files[0])
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert faults(manifest, store) == ["missing"]


def test_right_bytes_that_are_no_model_are_told(store: Store) -> None:
    result = check(stored_model(store, data=b"GGUF and more"), store)
    assert [file.fault for file in result.broken] == ["bad header"]
    assert result.broken[0].reason


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_what_cannot_be_read_is_a_result_and_no_error(store: Store, data: bytes, tmp_path: Path) -> None:
    manifest = stored_model(store, data=data)
    loop, folder = tmp_path / "loop", tmp_path / "folder"
    loop.symlink_to(loop)
    folder.mkdir()
    for place in (loop, tmp_path / ("x" * 300), Path("/dev/null/x")):
        result = check(linked_to(store, manifest, place), store)
        assert [file.fault for file in result.files] in (["unreadable"], ["missing"])
    size_bytes = folder.stat().st_size
    as_folder = linked_to(store, manifest, folder)
    file = msgspec.structs.replace(as_folder.files[0], size_bytes=size_bytes)
    assert faults(msgspec.structs.replace(as_folder, files=(file,)), store) == ["unreadable"]


def test_a_file_used_in_place_is_checked_there(store: Store, data: bytes, tmp_path: Path) -> None:
    place = tmp_path / "mine.gguf"
    place.write_bytes(data)
    manifest = linked_to(store, stored_model(store, data=data), place)
    assert faults(manifest, store) == [None]
    damaged(flip(len(data) * 4), place)
    result = check(manifest, store)
    assert [(file.fault, file.path) for file in result.broken] == [("wrong bytes", str(place))]


def test_only_the_broken_files_are_named_and_progress_covers_all(store: Store, data: bytes) -> None:
    files = {"a.gguf": data, "b.gguf": data + b"\0" * 3_000_000, "notes.txt": b"no header needed"}
    manifest = stored_files(store, "tiny:1m", files)
    store.path(manifest.files[0]).unlink()
    damaged(flip(len(data) * 8 + 5), store.path(manifest.files[1]))
    seen: list[tuple[int, int]] = []
    result = verify(manifest, store, lambda done, total: seen.append((done, total)))
    assert [(file.filename, file.fault) for file in result.files] == [
        *(("a.gguf", "missing"), ("b.gguf", "wrong bytes"), ("notes.txt", None))
    ]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {manifest.size_bytes}
    assert seen[-1] == (manifest.size_bytes, manifest.size_bytes)
    assert len(seen) > 5  # also while one file is read
    with pytest.raises(IntegrityError, match=r"a.gguf: missing; b.gguf: wrong bytes") as caught:
        require_right(result)
    assert "notes.txt" not in caught.value.message


def test_a_file_is_hashed_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * (2**20 + 1))
    seen: list[int] = []
    found = hash_file(tmp_path / "x", seen.append)
    assert seen == [2**20, 2**20 + 1]
    assert isinstance(found, Digest)
