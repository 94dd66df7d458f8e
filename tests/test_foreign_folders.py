"""Where other programs keep their models: their own variables move the place, and nothing else does."""

import sys
from pathlib import Path

import pytest

from localllm.config import foreign_folders


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_without_any_variable_the_places_are_in_the_home(home: Path) -> None:
    folders = foreign_folders({})
    assert folders.ollama[0] == home / ".ollama" / "models"
    assert folders.lm_studio == (home / ".lmstudio", home / ".cache" / "lm-studio")
    assert folders.lm_studio_pointer == home / ".lmstudio-home-pointer"
    assert folders.hugging_face == home / ".cache" / "huggingface" / "hub"
    assert [folder.name for folder in folders.llama_cpp] == ["llama.cpp"]


@pytest.mark.skipif(sys.platform != "linux", reason="places of Linux")
def test_on_linux_ollama_is_also_a_service(home: Path) -> None:
    for environment in ({}, {"OLLAMA_MODELS": str(home / "mine")}):
        assert Path("/usr/share/ollama/.ollama/models") in foreign_folders(environment).ollama
    assert foreign_folders({"XDG_CACHE_HOME": "/caches"}).llama_cpp == (Path("/caches/llama.cpp"),)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_llama_cpp_has_its_place_on_every_platform(home: Path, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    place = {"linux": ".cache", "darwin": "Library/Caches", "win32": "AppData/Local"}[platform]
    assert foreign_folders({}).llama_cpp == (home / place / "llama.cpp",)
    assert len(foreign_folders({}).ollama) == (4 if platform == "linux" else 1)
    assert foreign_folders({"LLAMA_CACHE": str(home / "own")}).llama_cpp == (home / "own",)


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"HF_HOME": "/hf"}, "/hf/hub"),
        ({"HF_HUB_CACHE": "/cache", "HF_HOME": "/hf"}, "/cache"),
        ({"HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"}, "/old"),
        ({"HF_HUB_CACHE": "/cache", "HUGGINGFACE_HUB_CACHE": "/old"}, "/cache"),
        ({"XDG_CACHE_HOME": "/caches"}, "/caches/huggingface/hub"),
        ({"HF_HOME": "~/hf"}, "~/hf/hub"),
    ],
)
def test_the_hubs_cache_follows_its_variables(home: Path, environment: dict[str, str], place: str) -> None:
    assert foreign_folders(environment).hugging_face == Path(place).expanduser().absolute()


@pytest.mark.parametrize("value", ["{}", " {} ", '"{}"', "'{}'"])
def test_ollamas_variable_is_read_as_ollama_reads_it(home: Path, value: str) -> None:
    assert foreign_folders({"OLLAMA_MODELS": value.format(home / "own")}).ollama[0] == home / "own"


@pytest.mark.parametrize("name", ["OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE", "XDG_CACHE_HOME"])
def test_an_empty_variable_is_none(home: Path, name: str) -> None:
    assert foreign_folders({name: ""}) == foreign_folders({})


def test_a_relative_place_is_made_absolute(home: Path) -> None:
    assert foreign_folders({"LLAMA_CACHE": "own"}).llama_cpp == (Path.cwd() / "own",)


def test_the_environment_of_this_process_is_the_default(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(home / "own"))
    assert foreign_folders().llama_cpp == (home / "own",)
