"""The folder that things are made in: nobody else's meanwhile, and gone at the end."""

import os
import threading
from pathlib import Path

import pytest
from msgspec import structs

from localllm.errors import LoadFailed, ModelError, NoRoom
from localllm.models import disk_space
from localllm.models.storage.garbage import collect_garbage, find_garbage
from localllm.models.storage.store import Store
from localllm.quantize.material import Material, of_path
from localllm.quantize.process.workbench import Workbench, workbench
from localllm.quantize.steps import Progress
from tests.tiny import write_tiny_model


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def silent(_words: str, _progress: Progress) -> None:
    """Observe nothing."""


def material_at(path: Path) -> Material:
    return of_path(path, "~/it", lambda _done, _total: None, lambda _quant, _name: None)


def left(store: Store) -> list[str]:
    parts = store.root / "parts"
    return sorted(os.listdir(parts)) if parts.exists() else []


def test_whatever_happens_the_folder_goes(store: Store) -> None:
    with workbench(store, "tiny:f16", 1, silent) as bench:
        assert bench.keep_text("text.txt", "a\r\nb\n").read_bytes() == b"a\r\nb\n"
        assert [bench.folder.name] == left(store)
    assert left(store) == []
    with pytest.raises(KeyboardInterrupt), workbench(store, "tiny:f16", 1, silent) as bench:
        _interrupt(bench)
    assert left(store) == []


def _interrupt(bench: Workbench) -> None:
    bench.keep_text("text.txt", "hello")
    raise KeyboardInterrupt


def test_two_with_one_purpose_wait_for_each_other(store: Store) -> None:
    waits, told = threading.Event(), []

    def observe(words: str, _progress: Progress) -> None:
        told.append(words)
        waits.set()

    def second() -> None:
        with workbench(store, "tiny:f16", 1, observe) as bench:
            assert list(bench.folder.iterdir()) == []

    with workbench(store, "tiny:f16", 1, silent) as bench:
        bench.keep_text("text.txt", "hello")
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(60)
        assert bench.path("text.txt").exists()
        with workbench(store, "other:f16", 1, silent):  # another purpose
            pass
    thread.join()
    assert set(told) == {"Waiting for another process that makes something of tiny:f16"}
    assert left(store) == []


def test_what_a_killed_process_left_is_garbage_and_never_in_the_way(store: Store) -> None:
    with workbench(store, "tiny:f16", 1, silent) as bench:
        folder = bench.folder
        assert find_garbage(store, old_versions=False) == []  # somebody is at work
    folder.mkdir()
    (folder / "converted-auto.gguf").write_bytes(bytes(5000))
    garbage = find_garbage(store, old_versions=False)
    assert [(item.kind, item.what) for item in garbage] == [("part", folder.name)]
    with workbench(store, "tiny:f16", 1, silent) as bench:
        assert list(bench.folder.iterdir()) == []
    folder.mkdir()
    (folder / "converted-auto.gguf").write_bytes(bytes(5000))
    assert collect_garbage(store, find_garbage(store, old_versions=False)) >= 5000
    assert left(store) == []


def test_a_model_in_one_file_is_opened_where_it_is(store: Store, tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    with workbench(store, "tiny", 1, silent) as bench:
        assert bench.opened(material_at(path)) == path


@pytest.mark.parametrize("refused", [(), ("symlink_to",), ("symlink_to", "link")])
def test_parts_get_their_own_names_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "not on this system")

    write_tiny_model(tmp_path / "parts.gguf", tensors_each=8)
    material = material_at(tmp_path / "parts-00001-of-00003.gguf")
    blobs = {}
    for number, (name, path) in enumerate(material.files.items()):
        blobs[name] = path.rename(tmp_path / f"sha256-{number}")
    material = structs.replace(material, files=blobs)
    for name in refused:
        monkeypatch.setattr(Path if name == "symlink_to" else os, name, refuse)
    with workbench(store, "tiny", 1, silent) as bench:
        first = bench.opened(material)
        assert first.name == "parts-00001-of-00003.gguf"
        beside = {path.name: path.read_bytes() for path in first.parent.iterdir()}
        assert beside == {name: path.read_bytes() for name, path in blobs.items()}
    assert all(path.exists() for path in blobs.values())


def test_errors_speak_of_what_the_user_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "sha256-0123.gguf"
    with workbench(store, "tiny", 1, silent) as bench:
        bench.call(path, "tiny:f16")
        with pytest.raises(LoadFailed, match=r"^tiny:f16 is damaged$"):
            _fail(bench, f"{path} is damaged")


def _fail(bench: Workbench, words: str) -> None:
    raise bench._in_their_names(LoadFailed(words))


def test_a_full_disk_is_told_of_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with workbench(store, "tiny", 1, silent) as bench:
        bench.require_room(1)
        monkeypatch.setattr(disk_space, "SPARE_BYTES", 2**70)
        with pytest.raises(NoRoom, match="are needed"):
            bench.require_room(1)


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").write_text("a file in its place", "utf-8")
    with pytest.raises(ModelError, match="cannot"), workbench(Store(tmp_path / "home"), "tiny", 1, silent):
        raise AssertionError("there is no folder")
