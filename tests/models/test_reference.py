"""References: names, aliases, paths, the echo engine, and what people type by mistake."""

import os
from pathlib import Path

import pytest

from localllm.errors import LoadFailed, ModelNotFound
from localllm.models.card import ModelCard
from localllm.models.catalog import Catalog
from localllm.models.local import LocalModel
from localllm.models.reference import resolve
from localllm.models.store import Store
from tests.models.cards import make_card, stored_model

CATALOG = Catalog([make_card(b"GGUF", name="tiny:1m"), make_card(b"GGUF", name="small:2m")])


def local(reference: str, store: Store) -> LocalModel:
    found = resolve(reference, store, CATALOG)
    assert isinstance(found, LocalModel)
    return found


@pytest.mark.parametrize("reference", ["tiny:1m", "tiny", "TINY:1M"])
def test_a_known_name_that_is_not_here_is_a_card(store: Store, reference: str) -> None:
    found = resolve(reference, store, CATALOG)
    assert isinstance(found, ModelCard)
    assert found.name == "tiny:1m"


@pytest.mark.parametrize("reference", ["tiny:1m", "tiny", "TINY:1M"])
def test_a_stored_model(store: Store, reference: str) -> None:
    manifest = stored_model(store)
    found = local(reference, store)
    assert (found.id, found.engine, found.created) == ("tiny:1m", "llama_cpp", 1)
    assert found.path == str(store.blob_path(manifest.file.digest))
    assert found.size_bytes == manifest.file.size_bytes


def test_a_stored_model_needs_no_card(store: Store) -> None:
    stored_model(store, "forgotten:1m")
    assert local("forgotten:1m", store).id == "forgotten:1m"
    assert local("Forgotten:1M", store).id == "forgotten:1m"


def test_a_model_whose_file_is_damaged_is_pulled_anew(store: Store) -> None:
    manifest = stored_model(store)
    store.blob_path(manifest.file.digest).unlink()
    assert isinstance(resolve("tiny", store, CATALOG), ModelCard)


@pytest.mark.parametrize(
    ("reference", "word"),
    [
        ("tiny:2m", "did you mean tiny:1m"),
        ("smal", "did you mean small:2m"),
        ("qqqqqqqqq", "localllm list --all"),
        ("", "localllm list --all"),
        ("tiny:", "no model name"),
        ("a:b:c", "no model name"),
        ("..:..", "no model name"),
        ("nul:1m", "no model name"),
        ("tiny 1m", "did you mean tiny:1m"),
    ],
)
def test_an_unknown_name_is_told_the_nearest_ones(store: Store, reference: str, word: str) -> None:
    with pytest.raises(ModelNotFound, match=word) as caught:
        resolve(reference, store, CATALOG)
    assert repr(reference) in caught.value.message
    assert caught.value.param == "model"


@pytest.mark.parametrize(("reference", "rate"), [("echo", ""), ("echo:50", "50")])
def test_the_echo_engine(store: Store, reference: str, rate: str) -> None:
    found = local(reference, store)
    assert (found.id, found.engine, found.path) == (reference, "echo", rate)


def test_a_name_that_only_begins_like_echo_is_none(store: Store) -> None:
    with pytest.raises(ModelNotFound):
        resolve("echoes", store, CATALOG)


@pytest.mark.parametrize("name", ["some-model.Q4_0.gguf", "UPPER.GGUF", "größe 1.gguf"])
def test_a_file_is_used_where_it_lies(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"GGUF and more")
    found = local(str(path), store)
    assert (found.id, found.engine, found.path, found.size_bytes) == (path.stem, "llama_cpp", str(path), 13)
    assert found.created == int(path.stat().st_mtime)
    monkeypatch.chdir(tmp_path)
    assert local(name, store).path == name
    assert local(f"./{name}", store).size_bytes == 13


def test_a_path_needs_no_ending(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "sha256-0123"
    path.write_bytes(b"GGUF")
    assert local(str(path), store).path == str(path)


def test_the_tilde_is_home(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    assert local("~/mine.gguf", store).path == str(tmp_path / "mine.gguf")


@pytest.mark.parametrize("data", [b"", b"GGU", b"<html>", b"ggufgguf", b"PK\x03\x04"])
def test_a_file_that_is_no_gguf_is_told_how_it_begins(store: Store, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "page.gguf"
    path.write_bytes(data)
    with pytest.raises(LoadFailed, match=r"page\.gguf is not a GGUF file") as caught:
        resolve(str(path), store, CATALOG)
    assert repr(data[:4]) in caught.value.message


def test_a_folder_is_no_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"name the \.gguf file itself"):
        resolve(str(tmp_path), store, CATALOG)


@pytest.mark.skipif(os.name == "nt", reason="needs a named pipe")
def test_a_pipe_is_no_file_and_is_not_waited_for(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(LoadFailed, match="is no file"):
        resolve(str(tmp_path / "pipe.gguf"), store, CATALOG)


def test_a_file_that_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="there is no file") as caught:
        resolve(str(tmp_path / "gone.gguf"), store, CATALOG)
    assert "Hugging Face" not in caught.value.message
    assert caught.value.param == "model"


@pytest.mark.parametrize("reference", ["a\x00b.gguf", "~nobody-by-that-name/x.gguf", "x" * 5000 + ".gguf"])
def test_a_path_that_cannot_be_is_a_plain_error(store: Store, reference: str) -> None:
    with pytest.raises(LoadFailed, match="cannot read"):
        resolve(reference, store, CATALOG)


@pytest.mark.parametrize(
    "reference",
    [
        "some-org/Tiny-GGUF",
        "some-org/Tiny-GGUF:Q4_K_M",
        "hf.co/some-org/Tiny-GGUF",
        "https://huggingface.co/some-org/Tiny-GGUF",
        "https://huggingface.co/some-org/Tiny-GGUF/resolve/main/tiny.gguf",
        "hf://some-org/Tiny-GGUF",
    ],
)
def test_a_repository_is_told_what_to_do_instead(store: Store, reference: str) -> None:
    with pytest.raises(ModelNotFound, match=r"download a \.gguf file and give its path"):
        resolve(reference, store, CATALOG)
