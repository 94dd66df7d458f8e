"""LM Studio: its folders, also moved ones, and the models in them by publisher and repository."""

import json
from pathlib import Path

import pytest

from tests.models.scan.trees import gguf, hub_file, look, only_model, reasons, write


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "lmstudio" / "models"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("lmstudio-community/Some-1B-GGUF/Some-1B-Q4_K_M.gguf", "lmstudio-community/Some-1B-GGUF:Q4_K_M"),
        ("me/own/model.gguf", "me/own:latest"),
        ("me/own/deeper/model-Q8_0.GGUF", "me/own:Q8_0"),
        ("one folder/model-Q8_0.gguf", "one-folder:Q8_0"),
        ("alone-Q8_0.gguf", "alone:Q8_0"),
        ("alone.gguf", "alone:latest"),
        ("alone-fp16.gguf", "alone:F16"),
        ("模型/模型/模型.gguf", "model/model:latest"),
        ("con/aux-1/x-Q8_0.gguf", None),
    ],
)
def test_a_file_is_named_by_its_folders_and_quant(models: Path, tmp_path: Path, place: str, name: str | None) -> None:
    path = write(models / place, gguf())
    report = look(tmp_path)
    assert [(model.name, model.files[0].path) for model in report.models] == ([(name, path)] if name else [])
    assert len(report.skipped) == (name is None)


def test_what_only_calls_itself_gguf_is_skipped(models: Path, tmp_path: Path) -> None:
    write(models / "me" / "own" / "pointer-Q8_0.gguf", b"version https://git-lfs.github.com/spec/v1\n")
    write(models / "me" / "own" / "empty-Q8_0.gguf", b"")
    write(models / "me" / "own" / "README.md", b"words")
    write(models / "me" / "own" / ".hidden-Q8_0.gguf", gguf())
    write(models / "me" / "own" / "half-Q8_0.gguf.part", gguf())
    report = look(tmp_path)
    assert report.models == ()
    assert {one.path.name for one in report.skipped} == {"pointer-Q8_0.gguf", "empty-Q8_0.gguf"}
    assert "b'vers'" in reasons(report)


def test_files_and_folders_may_be_links_to_another_disk(models: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    write(disk / "repository" / "some-Q8_0.gguf", gguf())
    write(disk / "loose", gguf())
    (models / "me").mkdir(parents=True)
    (models / "me" / "linked").symlink_to(disk / "repository")
    (models / "you" / "own").mkdir(parents=True)
    (models / "you" / "own" / "name-Q4_0.gguf").symlink_to(disk / "loose")
    report = look(tmp_path)
    assert [model.name for model in report.models] == ["me/linked:Q8_0", "you/own:Q4_0"]
    assert [model.files[0].sha256 for model in report.models] == [None, None]


def test_a_model_linked_into_the_hubs_cache_is_one_model(models: Path, tmp_path: Path) -> None:
    link = hub_file(tmp_path / "hub", "org/Some-GGUF", "some-Q8_0.gguf", gguf())
    place = models / "org" / "Some-GGUF" / "some-Q8_0.gguf"
    place.parent.mkdir(parents=True)
    place.symlink_to(link)
    assert only_model(look(tmp_path)).origin == "hugging-face"


@pytest.mark.parametrize("through", ["pointer", "settings", "both"])
def test_moved_folders_are_found(tmp_path: Path, through: str) -> None:
    home, moved = tmp_path / "elsewhere", tmp_path / "disk"
    if through != "settings":
        write(tmp_path / "pointer", f"{home}\n".encode())
    if through == "pointer":
        moved = home / "models"
    else:
        settings = (home if through == "both" else tmp_path / "lmstudio") / "settings.json"
        write(settings, json.dumps({"language": "de", "downloadsFolder": str(moved)}).encode())
    write(moved / "me" / "own" / "model-Q8_0.gguf", gguf())
    assert only_model(look(tmp_path)).name == "me/own:Q8_0"


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b'{"downloadsFolder": 1}', b'{"downloadsFolder": "a"}', b"\xff", b"[" * 10**6]
)
def test_broken_settings_leave_the_usual_folder(models: Path, tmp_path: Path, data: bytes) -> None:
    settings = write(tmp_path / "lmstudio" / "settings.json", data)
    write(models / "me" / "own" / "model-Q8_0.gguf", gguf())
    report = look(tmp_path)
    assert [model.name for model in report.models] == ["me/own:Q8_0"]
    assert [one.path for one in report.skipped] == [settings]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"relative/place", b"x" * 10_000, b"/no\x00where"])
def test_a_broken_pointer_leaves_the_usual_home(models: Path, tmp_path: Path, data: bytes) -> None:
    write(tmp_path / "pointer", data)
    write(models / "me" / "own" / "model-Q8_0.gguf", gguf())
    report = look(tmp_path)
    assert [model.name for model in report.models] == ["me/own:Q8_0"]
    assert report.skipped


def test_a_pointer_to_nowhere_is_silent(tmp_path: Path) -> None:
    write(tmp_path / "pointer", str(tmp_path / "gone").encode())
    assert look(tmp_path).skipped == ()


def test_the_same_name_in_two_folders_is_said(tmp_path: Path, models: Path) -> None:
    write(tmp_path / "pointer", str(tmp_path / "second").encode())
    write(tmp_path / "second" / "models" / "me" / "own" / "model-Q8_0.gguf", gguf("one"))
    write(models / "me" / "own" / "model-Q8_0.gguf", gguf("two"))
    report = look(tmp_path)
    assert [model.files[0].path for model in report.models] == [
        tmp_path / "second" / "models" / "me" / "own" / "model-Q8_0.gguf"
    ]
    assert "found first" in reasons(report)
