"""Ollama's store: what a manifest names is found under Ollama's name, and no manifest leads anywhere else."""

import json
import os
from pathlib import Path

import pytest

from tests.models.scan.trees import (
    KIND,
    gguf,
    look,
    ollama_layer,
    ollama_manifest,
    ollama_model,
    only_model,
    reasons,
    sha256,
    write,
)

OFFICIAL = "registry.ollama.ai/library/llama3.2/1b"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "ollama"


def test_a_model_is_its_blob_with_the_digest_of_its_name(root: Path, tmp_path: Path) -> None:
    data = gguf()
    ollama_model(root, OFFICIAL, data)
    model = only_model(look(tmp_path))
    assert (model.name, model.origin, model.note, model.size_bytes) == ("llama3.2:1b", "ollama", "", len(data))
    assert [(file.path, file.sha256) for file in model.files] == [
        (root / "blobs" / f"sha256-{sha256(data)}", sha256(data))
    ]


@pytest.mark.parametrize(
    ("place", "name", "note"),
    [
        (OFFICIAL, "llama3.2:1b", ""),
        ("registry.ollama.ai/library/Mixed.Case/Q4_K_M", "Mixed.Case:Q4_K_M", ""),
        ("registry.ollama.ai/someone/tuned/latest", "someone/tuned:latest", ""),
        ("hf.co/org/Some-Repo-GGUF/Q4_K_M", "org/Some-Repo-GGUF:Q4_K_M", "it came from hf.co"),
        ("models.example.com/library/own/v1", "library/own:v1", "it came from models.example.com"),
    ],
)
def test_the_name_is_that_of_ollama(root: Path, tmp_path: Path, place: str, name: str, note: str) -> None:
    ollama_model(root, place, gguf())
    model = only_model(look(tmp_path))
    assert (model.name, model.note) == (name, note)


def test_two_tags_of_one_blob_are_two_models(root: Path, tmp_path: Path) -> None:
    for tag in ("8b", "latest"):
        ollama_model(root, f"registry.ollama.ai/library/llama3/{tag}", gguf())
    first, second = look(tmp_path).models
    assert (first.name, second.name) == ("llama3:8b", "llama3:latest")
    assert first.files == second.files


def test_what_is_not_used_of_a_model_is_said(root: Path, tmp_path: Path) -> None:
    ollama_model(root, OFFICIAL, gguf(), "projector", "adapter")
    note = only_model(look(tmp_path)).note
    assert "projector" in note
    assert "LoRA adapter" in note


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/passwd",
        "sha256:" + "../" * 20 + "etc/passwd",
        "sha256:",
        "",
        ":",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "0" * 64 + "\n",
        "sha256:" + "A" * 64,
        "sha256:" + "٠" * 64,
        "sha512:" + "0" * 64,
        "sha256-" + "0" * 64,
        "sha256:" + "0" * 62 + "/.",
        "sha256:\u202e\x1b[31m\x00",
        "x" * 100_000,
    ],
)
def test_a_hostile_digest_names_no_file(root: Path, tmp_path: Path, digest: str) -> None:
    write(root / "secret", gguf())
    ollama_manifest(root, OFFICIAL, [{"mediaType": KIND + "model", "digest": digest, "size": 1}])
    report = look(tmp_path)
    assert report.models == ()
    assert "no SHA-256 digest" in reasons(report) or "not a SHA-256 digest" in reasons(report)
    assert len(reasons(report)) < 1000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "JSON"),
        (b"null", "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        (b'{"layers": null}', "JSON"),
        (b'{"layers": [1]}', "JSON"),
        (b'{"layers": [{"mediaType": "a"}]}', "JSON"),
        (b'{"layers": [{"mediaType": 1, "digest": 2, "size": 3}]}', "JSON"),
        (b'{"layers": [{"mediaType": "a", "digest": "b", "size": 1e400}]}', "JSON"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "layers": []}', "JSON"),
        (b'{"layers": []}', "no GGUF file"),
        (b'{"layers": [' + b" " * 1_000_000 + b"]}", "bytes"),
    ],
)
def test_a_broken_manifest_is_skipped_and_the_others_are_found(
    root: Path, tmp_path: Path, data: bytes, words: str
) -> None:
    write(root / "manifests" / "registry.ollama.ai" / "library" / "broken" / "latest", data)
    ollama_model(root, OFFICIAL, gguf())
    report = look(tmp_path)
    assert [model.name for model in report.models] == ["llama3.2:1b"]
    (skipped,) = report.skipped
    assert skipped.path.parent.name == "broken"
    assert words in skipped.reason


def test_models_of_other_formats_are_skipped(root: Path, tmp_path: Path) -> None:
    ollama_manifest(root, OFFICIAL, [ollama_layer(root, "tensor", b"one of many")])
    several = [ollama_layer(root, "model", gguf("one")), ollama_layer(root, "model", gguf("two"))]
    ollama_manifest(root, "registry.ollama.ai/library/several/1", several)
    ollama_model(root, "registry.ollama.ai/library/other/1", b"PK\x03\x04 and so on")
    report = look(tmp_path)
    assert report.models == ()
    assert [words in reasons(report) for words in ("no GGUF file", "several blobs", "begins with b'PK")] == [True] * 3


def test_a_blob_that_is_missing_or_of_another_size_is_no_model(root: Path, tmp_path: Path) -> None:
    manifest = ollama_model(root, OFFICIAL, gguf())
    blob = root / "blobs" / f"sha256-{sha256(gguf())}"
    blob.write_bytes(gguf() + b"more")
    assert "not 15" in reasons(look(tmp_path))
    blob.unlink()
    report = look(tmp_path)
    assert (report.models, [one.path for one in report.skipped]) == ((), [manifest])
    assert "is not here" in reasons(report)


def test_a_blob_may_not_lead_out_of_its_folder(root: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "private.gguf", gguf())
    ollama_manifest(root, OFFICIAL, [ollama_layer(root, "model", gguf())])
    blob = root / "blobs" / f"sha256-{sha256(gguf())}"
    blob.unlink()
    blob.symlink_to(outside)
    report = look(tmp_path)
    assert report.models == ()
    assert "leads out" in reasons(report)


def test_the_folder_of_blobs_itself_may_be_on_another_disk(root: Path, tmp_path: Path) -> None:
    ollama_model(root, OFFICIAL, gguf())
    (root / "blobs").rename(tmp_path / "disk")
    (root / "blobs").symlink_to(tmp_path / "disk")
    assert only_model(look(tmp_path)).name == "llama3.2:1b"


@pytest.mark.parametrize(
    ("kind", "words"), [("loop", "symbolic links"), ("folder", "no regular file"), ("fifo", "no regular file")]
)
def test_a_blob_that_is_no_file_is_skipped(root: Path, tmp_path: Path, kind: str, words: str) -> None:
    ollama_model(root, OFFICIAL, gguf())
    blob = root / "blobs" / f"sha256-{sha256(gguf())}"
    blob.unlink()
    match kind:
        case "loop":
            blob.symlink_to(blob.name)
        case "folder":
            blob.mkdir()
        case _:
            os.mkfifo(blob)
    report = look(tmp_path)
    assert report.models == ()
    (skipped,) = report.skipped
    assert words in skipped.reason


def test_files_that_are_not_where_manifests_are_say_so(root: Path, tmp_path: Path) -> None:
    text = json.dumps({"layers": []}).encode()
    write(root / "manifests" / "stray", text)
    write(root / "manifests" / "a" / "b" / "c" / "d" / "e" / "deep", text)
    write(root / "manifests" / "a" / ".DS_Store", text)
    report = look(tmp_path)
    assert report.models == ()
    assert {one.path.name: one.reason.partition(":")[0] for one in report.skipped} == {
        "stray": "it is not where Ollama keeps a manifest",
        "e": "it lies too deep",
    }


@pytest.mark.parametrize("place", ["registry.ollama.ai/library/_odd/1", f"registry.ollama.ai/library/x/{'y' * 200}"])
def test_a_name_that_no_model_can_have_here_is_said(root: Path, tmp_path: Path, place: str) -> None:
    ollama_model(root, place, gguf())
    report = look(tmp_path)
    assert report.models == ()
    assert "name" in reasons(report)
