"""`localllm import`: files of this machine become models, copied or in place; other programs' files are found."""

import json
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.cli.blobs import has
from tests.cli.shell import Shell


@pytest.fixture
def own(tiny_model: Path, tmp_path: Path) -> Path:
    """A file of the user's."""
    path = tmp_path / "Own Model.gguf"
    path.write_bytes(tiny_model.read_bytes())
    return path


def test_a_copy_is_ours(shell: Shell, store: Store, own: Path) -> None:
    data = own.read_bytes()
    told = shell.ok("import", str(own))
    assert (told.out, told.err) == ("", "own-model:f32 is here now.\n")
    own.unlink()
    assert has(store, data)
    assert shell.ok("show", "own-model:f32").rows[1] == ["where", "here"]
    assert shell.ok("rm", "own-model:f32").err == "Removed own-model:f32, 435 kB freed.\n"


def test_in_place_nothing_is_copied_or_removed(shell: Shell, store: Store, own: Path) -> None:
    told = shell.ok("import", "--link", "--name", "mine", str(own), "--json")
    assert told.json["name"] == "mine:f32"
    assert shell.ok("list").rows[1][-2:] == ["in", "place"]
    assert [*shell.ok("du").rows[1]] == ["mine:f32", "1", "0", "kB", "0", "kB", "435", "kB"]
    assert not list(store.root.glob("blobs/*"))
    shell.ok("rm", "mine:f32")
    assert own.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ((), 2, "--scan"),
        (("{own}", "--scan"), 2, "--scan"),
        (("--scan", "--name", "x"), 2, "--scan"),
        (("nowhere.gguf",), 3, "nowhere.gguf"),
        (("{own}", "--name", "no name"), 2, "can be no model's name"),
        (("{own}", "--name", "qwen3:4b"), 2, "name of a known model"),
        ((__file__,), 5, "test_import.py"),
    ],
)
def test_what_cannot_be_taken_in(
    shell: Shell, store: Store, own: Path, arguments: tuple[str, ...], code: int, word: str
) -> None:
    told = shell("import", *(argument.format(own=own) for argument in arguments))
    assert (told.code, told.out) == (code, ""), told.err
    assert word in told.err
    assert store.survey().manifests == []


def test_a_scan_finds_the_models_of_others(
    shell: Shell, store: Store, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No models of other programs found" in shell.ok("import", "--scan").err
    cache = tmp_path / "cache"
    cache.mkdir()
    theirs = cache / "some-org_Tiny-GGUF_tiny.Q4_0.gguf"
    theirs.write_bytes(own.read_bytes())
    monkeypatch.setenv("LLAMA_CACHE", str(cache))
    told = shell.ok("import", "--scan")
    assert told.rows[0] == ["NAME", "FROM", "SIZE", "PATH"]
    assert told.rows[1][1:] == ["llama.cpp", "435", "kB", str(theirs)]
    assert "localllm import --scan --link" in told.err
    (found,) = json.loads(shell.ok("import", "--scan", "--json").out)
    assert store.survey().manifests == []
    linked = shell.ok("import", "--scan", "--link")
    assert linked.err == f"{found['name']} is here now, used where it lies.\n"
    assert shell.ok("verify").out == f"{found['name']}: every file is right\n"
    assert theirs.exists()
