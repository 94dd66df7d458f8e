"""The whole scan: every program, unreadable places, odd names; a list in order and never an exception."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.models.names import is_model_name
from localllm.models.scan.scan import scan
from localllm.models.scan.survey import Survey
from tests.models.scan.trees import (
    folders_below,
    gguf,
    hub_file,
    look,
    ollama_model,
    only_model,
    reasons,
    without_rights,
    write,
)

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter; that of a test is its owner's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_machine_without_other_programs_has_nothing(tmp_path: Path) -> None:
    report = look(tmp_path / "nothing")
    assert (report.models, report.skipped) == ((), ())
    assert not (tmp_path / "nothing").exists()


def test_all_programs_are_found_in_order(tmp_path: Path) -> None:
    write(tmp_path / "llama.cpp" / "zebra-Q8_0.gguf", gguf("a"))
    write(tmp_path / "lmstudio" / "models" / "org" / "Some" / "some-Q8_0.gguf", gguf("b"))
    hub_file(tmp_path / "hub", "org/Some", "some-Q8_0.gguf", gguf("c"))
    ollama_model(tmp_path / "ollama", "registry.ollama.ai/library/ant/1b", gguf("d"))
    report = look(tmp_path)
    assert [(model.name, model.origin) for model in report.models] == [
        ("ant:1b", "ollama"),
        ("org/Some:Q8_0", "hugging-face"),
        ("org/Some:Q8_0", "lm-studio"),
        ("zebra:Q8_0", "llama.cpp"),
    ]
    assert all(is_model_name(model.name) for model in report.models)
    assert look(tmp_path) == report


def test_a_real_gguf_file_is_found(tmp_path: Path, tiny_model: Path) -> None:
    place = tmp_path / "lmstudio" / "models" / "me" / "tiny" / "tiny-F32.gguf"
    place.parent.mkdir(parents=True)
    shutil.copy(tiny_model, place)
    model = only_model(look(tmp_path))
    assert (model.name, model.size_bytes) == ("me/tiny:F32", tiny_model.stat().st_size)


@POSIX
def test_what_may_not_be_read_is_said_and_the_rest_is_found(open_folder: Path) -> None:
    models = open_folder / "lmstudio" / "models"
    write(models / "me" / "closed-file" / "a-Q8_0.gguf", gguf()).chmod(0)
    write(models / "me" / "open" / "a-Q8_0.gguf", gguf())
    write(models / "closed" / "own" / "a-Q8_0.gguf", gguf())
    ollama_model(open_folder / "ollama", "registry.ollama.ai/library/ant/1b", gguf())
    hub_file(open_folder / "hub", "org/Some", "some-Q8_0.gguf", gguf())
    closed = [models / "closed", open_folder / "ollama", open_folder / "hub"]
    for folder in closed:
        folder.chmod(0)
    with without_rights():
        report = scan(folders_below(open_folder))
    assert [model.name for model in report.models] == ["me/open:Q8_0"]
    assert {one.path for one in report.skipped} == {
        models / "me" / "closed-file" / "a-Q8_0.gguf",
        models / "closed",
        open_folder / "ollama" / "manifests",
        open_folder / "hub",
    }
    assert {one.reason for one in report.skipped} == {"it cannot be read: Permission denied"}


@POSIX
@pytest.mark.parametrize(
    "name", [b"bad-\xff-Q8_0.gguf", b"red-\x1b[31m-Q8_0.gguf", "rtl-\u202efugg.gguf".encode(), b"a\nb.gguf"]
)
def test_a_name_that_cannot_be_shown_is_skipped(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "lmstudio" / "models" / "me" / "own"
    write(folder / "good-Q8_0.gguf", gguf())
    Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(gguf())
    report = look(tmp_path)
    assert [model.name for model in report.models] == ["me/own:Q8_0"]
    (skipped,) = report.skipped
    assert "cannot be shown" in skipped.reason
    assert skipped.place.isprintable()
    assert skipped.place.isascii()


def test_folders_that_lie_too_deep_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "lmstudio" / "models" / Path(*"abcdefghijklmnop") / "deep-Q8_0.gguf", gguf())
    write(tmp_path / "lmstudio" / "models" / "me" / "own" / "good-Q8_0.gguf", gguf())
    report = look(tmp_path)
    assert [model.name for model in report.models] == ["me/own:Q8_0"]
    assert "too deep" in reasons(report)


def test_a_place_with_too_many_files_is_cut_and_that_is_said_once(tmp_path: Path) -> None:
    for folder in "abc":
        for number in range(5):
            write(tmp_path / folder / f"{number}.gguf", gguf())
    survey = Survey(most_entries=10)
    assert len(list(survey.files(tmp_path))) == 7  # with its three folders ten entries
    assert [one.reason for one in survey.skipped] == [
        "there are too many files and folders to look at; the rest was left out"
    ]


def test_a_place_that_is_a_file_is_said(tmp_path: Path) -> None:
    for name in ("hub", "lmstudio", "ollama", "llama.cpp"):
        write(tmp_path / name, b"a file")
    report = look(tmp_path)
    assert report.models == ()
    assert "Not a directory" in reasons(report)


def test_links_of_folders_in_a_circle_end(tmp_path: Path) -> None:
    models = tmp_path / "lmstudio" / "models"
    write(models / "me" / "own" / "good-Q8_0.gguf", gguf())
    (models / "me" / "own" / "up").symlink_to(models)
    (models / "loop").symlink_to("loop")
    report = look(tmp_path)
    assert [model.name for model in report.models] == ["me/own:Q8_0"]
    assert len(report.skipped) == 2
