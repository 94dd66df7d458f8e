"""Models in files: what a path may name, and files of the store and in place that are not what they were."""

import os
import shlex
from pathlib import Path

import msgspec
import pytest

from localllm.errors import LoadFailed, ModelNotFound
from localllm.models import import_file
from localllm.models.candidate import candidate_of
from localllm.models.local import LocalModel
from localllm.models.manifest import Manifest
from localllm.models.names import ModelName
from localllm.models.on_disk import from_manifest, from_path, parts_of
from localllm.models.storage.store import Store
from tests.models.cards import stored_files, stored_model
from tests.models.gguf.headers import ARCHITECTURE, U16, gguf, pair, tensor
from tests.models.pte.programs import TOKENIZER, Layout, program
from tests.models.test_reference import HOSTILE

PTE = program()


def refused(path: Path | str) -> str:
    """Why a file is no model."""
    with pytest.raises(LoadFailed) as caught:
        from_path(str(path))
    assert caught.value.message.isprintable()
    return caught.value.message


def missing(path: Path | str) -> str:
    """Which file is not there."""
    with pytest.raises(ModelNotFound) as caught:
        from_path(str(path))
    assert caught.value.message.isprintable()
    assert caught.value.param == "model"
    return caught.value.message


def split(folder: Path, parts: int = 3, stem: str = "big-Q4_0") -> list[Path]:
    """Files that call themselves the parts of one model."""
    paths = [folder / f"{stem}-{number:05d}-of-{parts:05d}.gguf" for number in range(1, parts + 1)]
    for path in paths:
        path.write_bytes(b"GGUF" + path.name.encode())
    return paths


# A path


@pytest.mark.parametrize("name", ["some-model.Q4_0.gguf", "UPPER.GGUF", "größe 1.gguf", "sha256-0123", "model.bin"])
def test_a_file_is_used_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"GGUF and more")
    found = from_path(str(path))
    assert (found.id, found.engine, found.path, found.size_bytes) == (path.stem, "llama_cpp", str(path), 13)
    assert found.parts == ()
    assert found.created == int(path.stat().st_mtime)
    monkeypatch.chdir(tmp_path)
    assert from_path(name).path == name
    assert from_path(f"./{name}").identity == found.identity


def test_the_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    assert from_path("~/mine.gguf").path == str(tmp_path / "mine.gguf")


@pytest.mark.parametrize(
    "data", [b"", b"GGU", b"<html>", b"ggufgguf", b"PK\x03\x04", b"ET12", b"\0\0\0\0ET1", b"\0\n\x1b["]
)
def test_a_file_that_is_no_model_is_told_how_it_begins(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "page.gguf"
    path.write_bytes(data)
    assert f"page.gguf is not a GGUF file: it begins with {data[:4]!r}" in refused(path)


def test_an_exported_model_needs_its_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    path.write_bytes(PTE)
    assert "no tokenizer beside it; put its tokenizer.json or tokenizer.model there" in refused(path)
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    assert from_path(str(path)).engine == "executorch"
    path.write_bytes(b"ET12ET11")
    assert "model.pte is not an ExecuTorch file" in refused(path)


def test_an_exported_model_knows_what_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    path.write_bytes(PTE)
    names = ["tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja", "generation_config.json"]
    for name in (*names, "notes.txt", "other.pte"):
        (tmp_path / name).write_bytes(b"{}")
    found = from_path(str(path))
    assert found.beside == {name: str(tmp_path / name) for name in names}
    assert (found.path, found.sha256) == (str(path), "")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (PTE[:-1], "it ends early"),
        (PTE[:50], "it ends early"),
        (program(layout=Layout(segment=(10**9, 1))), "beyond its end"),
        (program(forward=None), "is a program without a method 'forward'"),
    ],
)
def test_an_exported_model_that_cannot_run_is_refused(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "model.pte"
    path.write_bytes(data)
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    assert word in refused(path)


def test_an_exported_model_of_the_store_goes_by_names_and_not_by_folder(store: Store) -> None:
    """There, no file is called what it is."""
    files = {"model.pte": PTE, "tokenizer.json": TOKENIZER, "README.md": b"# Card"}
    manifest = stored_files(store, "tiny:pte", files, format="pte")
    found = from_manifest(manifest, store)
    assert (found.engine, Path(found.path).read_bytes()) == ("executorch", PTE)
    assert found.sha256 == found.identity == manifest.files[0].sha256
    assert {name: Path(path).read_bytes() for name, path in found.beside.items()} == {
        "tokenizer.json": TOKENIZER,
        "README.md": b"# Card",
    }


def test_of_a_split_model_no_single_digest_is_known(store: Store) -> None:
    names = ("x-00001-of-00002.gguf", "x-00002-of-00002.gguf")
    found = from_manifest(stored_files(store, "tiny:1m", {name: name.encode() for name in names}), store)
    assert (found.sha256, found.beside) == ("", {})


def test_an_exported_model_used_in_place_goes_by_its_paths(store: Store, tmp_path: Path) -> None:
    for name, data in {"model.pte": PTE, "tokenizer.json": TOKENIZER}.items():
        (tmp_path / name).write_bytes(data)
    manifest = import_file.link(candidate_of(tmp_path, None), store, lambda _done, _all: None)
    found = from_manifest(manifest, store)
    assert found.path == str(tmp_path / "model.pte")
    assert found.beside == {"tokenizer.json": str(tmp_path / "tokenizer.json")}
    assert found.sha256 == manifest.files[0].sha256


def test_a_folder_is_no_file_and_says_which_are_in_it(tmp_path: Path) -> None:
    assert refused(tmp_path).endswith("is a folder; name the .gguf file itself")
    (tmp_path / "config.json").write_bytes(b"{}")
    assert "is a checkpoint" in refused(tmp_path)
    (tmp_path / "x.pte").write_bytes(PTE)
    assert refused(tmp_path).endswith(f"is a folder; name the .pte file itself, such as {tmp_path / 'x.pte'}")
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    (tmp_path / "A.GGUF").write_bytes(b"GGUF")
    assert refused(tmp_path).endswith(f"such as {tmp_path / 'A.GGUF'}")


def test_a_folder_that_is_called_like_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some-org/Tiny-GGUF").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert refused("some-org/Tiny-GGUF").endswith("the repository of the hub is hf.co/some-org/Tiny-GGUF")


def test_a_checkpoint_is_told_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    assert "is a checkpoint, which no engine here runs as it is; turn it into a GGUF file" in refused(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_pipe_or_device_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "is no regular file" in refused(tmp_path / "pipe.gguf")
    assert "is no regular file" in refused("/dev/null")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert missing(tmp_path / "gone.gguf") == f"there is no file {tmp_path / 'gone.gguf'}"
    (tmp_path / "file").write_bytes(b"")
    assert "there is no file" in missing(tmp_path / "file" / "x.gguf")
    (tmp_path / "link.gguf").symlink_to(tmp_path / "gone.gguf")
    assert "link.gguf" in missing(tmp_path / "link.gguf")


@pytest.mark.parametrize("text", ["a\x00b.gguf", "~nobody-by-that-name/x.gguf", "x" * 5000 + ".gguf"])
def test_a_path_that_cannot_be_is_a_plain_error(text: str) -> None:
    assert refused(text).startswith("cannot read ")
    assert len(refused(text)) < 600


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").symlink_to(tmp_path / "b.gguf")
    (tmp_path / "b.gguf").symlink_to(tmp_path / "a.gguf")
    assert "cannot read" in refused(tmp_path / "a.gguf")


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:8]))
def test_hostile_paths_are_refused_in_one_line(tmp_path: Path, hostile: str) -> None:
    for text in (f"{tmp_path}/gone/{hostile}", f"{tmp_path}/gone/{hostile}/x.gguf", f"~{hostile}"):
        with pytest.raises((ModelNotFound, LoadFailed)) as caught:
            from_path(text)
        assert caught.value.message.isprintable()


def test_the_identity_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF one")
    os.utime(path, ns=(0, 10**18))
    before = from_path(str(path)).identity
    assert len(before) == 64
    assert from_path(str(path)).identity == before
    os.utime(path, ns=(0, 10**18 + 1))
    assert from_path(str(path)).identity != before
    path.write_bytes(b"GGUF three")
    os.utime(path, ns=(0, 10**18))
    assert from_path(str(path)).identity != before


def test_an_identity_is_a_digest_however_long_the_path_is(tmp_path: Path) -> None:
    """It goes into the names of files; 64 characters of path, size and time are no digest."""
    for length in range(1, 60):
        path = tmp_path / ("x" * length)
        path.write_bytes(b"GGUF")
        assert "\0" not in from_path(str(path)).identity


# Parts


@pytest.mark.parametrize("named", [0, 1, 2])
def test_a_split_model_is_named_by_any_of_its_parts(tmp_path: Path, named: int) -> None:
    paths = split(tmp_path)
    found = from_path(str(paths[named]))
    assert found.id == "big-Q4_0"
    assert found.parts == tuple(map(str, paths))
    assert found.path == str(paths[0])
    assert found.size_bytes == sum(path.stat().st_size for path in paths)
    assert found.identity == from_path(str(paths[0])).identity


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_part_that_is_missing_is_named(tmp_path: Path, gone: int) -> None:
    paths = split(tmp_path)
    paths[gone].unlink()
    named = paths[(gone + 1) % 3]
    assert missing(named) == f"there is no file {paths[gone]}, a part of {named.name}; bring it there"


def test_parts_keep_the_case_of_their_names(tmp_path: Path) -> None:
    names = ["BIG-00001-OF-00002.GGUF", "BIG-00002-OF-00002.GGUF"]
    for name in names:
        (tmp_path / name).write_bytes(b"GGUF")
    assert [path.name for path in parts_of(tmp_path / names[1])] == names


def test_a_part_of_very_many_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "big-00001-of-99999.gguf"
    path.write_bytes(b"GGUF")
    assert "big-00002-of-99999.gguf" in missing(path)


def test_parts_that_are_links_lie_where_the_links_lie(tmp_path: Path) -> None:
    """As in the cache of huggingface_hub, whose blobs have no such names."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for number in (1, 2):
        (blobs / str(number)).write_bytes(b"GGUF")
        (snapshot / f"x-0000{number}-of-00002.gguf").symlink_to(blobs / str(number))
    assert len(from_path(str(snapshot / "x-00002-of-00002.gguf")).parts) == 2


# Models of the store


def test_a_stored_model(store: Store) -> None:
    manifest = stored_model(store)
    found = from_manifest(manifest, store)
    assert found == LocalModel(
        id="tiny:1m",
        engine="llama_cpp",
        path=str(store.path(manifest.files[0])),
        created=1,
        size_bytes=manifest.size_bytes,
        defaults=manifest.defaults,
        sha256=manifest.files[0].sha256,
        identity=manifest.files[0].sha256,
    )


def test_a_stored_model_of_several_files(store: Store) -> None:
    files = {"x-00001-of-00002.gguf": b"GGUF one", "x-00002-of-00002.gguf": b"GGUF two", "LICENSE": b"MIT"}
    manifest = stored_files(store, "tiny:1m", files)
    found = from_manifest(manifest, store)
    assert [Path(part).read_bytes() for part in found.parts] == [b"GGUF one", b"GGUF two"]
    assert found.path == found.parts[0]
    assert len(found.identity) == 64
    assert found.identity not in {file.sha256 for file in manifest.files}


def test_a_stored_checkpoint_is_run_by_nothing(store: Store) -> None:
    manifest = stored_files(store, "tiny:1m", {"model.safetensors": b"weights"}, format="safetensors")
    with pytest.raises(LoadFailed, match="tiny:1m is a checkpoint, which no engine here runs"):
        from_manifest(manifest, store)


# Files used in place


@pytest.fixture
def used(tmp_path: Path, tiny_model: Path) -> Path:
    path = tmp_path / "mine here.gguf"
    path.write_bytes(tiny_model.read_bytes())
    return path


def link(path: Path, store: Store, name: str = "mine:v1") -> Manifest:
    return import_file.link(candidate_of(path, ModelName(name)), store, lambda *_: None)


def not_loaded(manifest: Manifest, store: Store) -> str:
    with pytest.raises(LoadFailed) as caught:
        from_manifest(manifest, store)
    assert caught.value.message.isprintable()
    return caught.value.message


def test_a_file_used_in_place(store: Store, used: Path) -> None:
    manifest = link(used, store)
    found = from_manifest(manifest, store)
    assert (found.id, found.path, found.identity) == ("mine:v1", str(used), manifest.files[0].sha256)


def test_a_file_used_in_place_that_vanished(store: Store, used: Path) -> None:
    manifest = link(used, store)
    used.unlink()
    message = not_loaded(manifest, store)
    assert message.startswith(f"mine:v1 is used where it lies, and {used} cannot be read (No such file")
    assert message.endswith("bring it back, or forget the model with: localllm rm mine:v1")


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_file_used_in_place_that_changed_is_imported_anew_on_demand(store: Store, used: Path, change: str) -> None:
    manifest = link(used, store)
    status = used.stat()
    if change == "size":
        used.write_bytes(used.read_bytes() + b"x")
        os.utime(used, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(used, ns=(status.st_atime_ns, status.st_mtime_ns - 1))
    words = not_loaded(manifest, store).partition("if that was meant: localllm import ")[2]
    assert shlex.split(words) == ["--link", "--name", "mine:v1", str(used)]
    again = link(used, store)
    assert from_manifest(again, store).path == str(used)


def test_what_was_found_by_looking_around_is_looked_for_again(store: Store, used: Path) -> None:
    manifest = link(used, store, "some-org/Tiny-GGUF:latest")
    os.utime(used, ns=(0, 0))
    assert not_loaded(manifest, store).endswith("if that was meant: localllm import --link --scan")


def test_a_link_is_followed_once(store: Store, used: Path, tmp_path: Path) -> None:
    """What is used is the file that was hashed; a link that comes to point elsewhere changes nothing."""
    shortcut = tmp_path / "shortcut.gguf"
    shortcut.symlink_to(used)
    manifest = link(shortcut, store)
    assert from_manifest(manifest, store).path == str(used)
    shortcut.unlink()
    assert from_manifest(manifest, store).path == str(used)
    os.utime(used, ns=(0, 0))
    assert str(shortcut) in not_loaded(manifest, store)  # what the user named is what to import again


def test_any_file_of_a_checkpoint_counts_and_the_folder_is_to_be_imported_again(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_bytes(name.encode())
    manifest = link(folder, store)
    assert "is a checkpoint" in not_loaded(manifest, store)
    (folder / "tokenizer.json").write_bytes(b"{}")
    assert not_loaded(manifest, store).endswith(f"localllm import --link --name mine:v1 {folder}")


def test_every_part_counts(store: Store, tmp_path: Path) -> None:
    paths = [tmp_path / f"x-0000{number}-of-00002.gguf" for number in (1, 2)]
    for number, path in enumerate(paths):
        pairs = [pair("split.no", U16, number), pair("split.count", U16, 2)]
        path.write_bytes(gguf([ARCHITECTURE, *pairs] if number == 0 else pairs, [tensor(f"{number}.weight")]))
    manifest = link(paths[1], store)
    assert from_manifest(manifest, store).parts == tuple(map(str, paths))
    os.utime(paths[1], ns=(0, 0))
    assert f"{paths[1]} has changed" in not_loaded(manifest, store)


def test_a_path_that_no_system_allows_in_a_manifest(store: Store, used: Path) -> None:
    manifest = link(used, store)
    (file,) = manifest.files
    broken = msgspec.structs.replace(manifest, files=(msgspec.structs.replace(file, path="a\0b"),))
    assert "cannot be read" in not_loaded(broken, store)
