"""`localllm alias` and `cp`: other names for a model, and the names that cannot be."""

from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.cli.blobs import blob_of
from tests.cli.shell import Shell
from tests.marks import slow
from tests.models.cards import stored_model


def test_an_alias_stands_for_a_model_until_it_is_forgotten(shell: Shell, store: Store) -> None:
    stored_model(store)
    assert "No aliases yet" in shell.ok("alias").err
    assert shell.ok("alias", "coder", "tiny:1m").err == "coder stands for tiny:1m.\n"
    assert shell.ok("alias").rows == [["ALIAS", "STANDS", "FOR"], ["coder", "tiny:1m"]]
    assert shell.ok("alias", "Coder").rows[1] == ["coder", "tiny:1m"]
    assert shell.ok("alias", "--json").json == {"coder": "tiny:1m"}
    assert shell.ok("history", "coder").rows[1][-2:] == ["in", "use"]
    shell.ok("alias", "coder", "qwen3:4b")
    assert shell.ok("alias", "--json").json == {"coder": "qwen3:4b"}
    shell.ok("alias", "coder", "--remove")
    assert shell("alias", "coder").code == 3
    assert shell("alias", "coder", "--remove").code == 3


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("alias", "qwen3:4b", "tiny:1m"), 2, "name of a known model"),
        (("alias", "tiny:1m", "qwen3:4b"), 2, "there is a tiny:1m already"),
        slow(("alias", "Big Name", "tiny:1m"), 2, "can be no alias"),
        (("alias", "second", "first"), 2, "is an alias itself"),
        (("alias", "second", "smolm2"), 3, "did you mean smollm2"),
        slow(("alias", "second", "./nowhere.gguf"), 3, "nowhere.gguf"),
        slow(("alias", "second", "a/b:c:d"), 3, "org/repo"),
        (("alias", "--remove"), 2, "--remove takes the alias alone"),
        slow(("alias", "first", "tiny:1m", "--remove"), 2, "--remove takes the alias alone"),
        (("alias", "nobody"), 3, "localllm alias NAME MODEL"),
        (("cp", "tiny:1m", "mi ne"), 2, "can be no model's name"),
        slow(("cp", "tiny:1m", "../mine:v1"), 2, "can be no model's name"),
        slow(("cp", "tiny:1m", "tiny:1M"), 2, "there is a tiny:1M already"),
        (("cp", "tiny:1m", "qwen3:4b"), 2, "name of a known model"),
        slow(("cp", "tiny:1m", "first:v1"), 2, "first:v1 is an alias"),
        slow(("cp", "tiny:2m", "mine:v1"), 3, "'tiny:2m'"),
    ],
)
def test_a_name_that_cannot_be(shell: Shell, store: Store, arguments: tuple[str, ...], code: int, word: str) -> None:
    stored_model(store)
    shell.ok("alias", "first", "tiny:1m")
    shell.ok("alias", "first:v1", "tiny:1m")
    told = shell(*arguments)
    assert (told.code, told.out) == (code, ""), told.err
    assert word in told.err
    assert shell.ok("alias", "--json").json == {"first": "tiny:1m", "first:v1": "tiny:1m"}


def test_an_alias_of_a_file_holds_in_every_folder(
    shell: Shell, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    shell.ok("alias", "here", "./tiny.gguf")
    monkeypatch.chdir(tmp_path)
    assert shell.ok("show", "here").rows[0] == ["name", "tiny"]


def test_a_copy_shares_its_files_and_goes_its_own_way(shell: Shell, store: Store) -> None:
    stored_model(store, data=b"GGUF one", follows="main")
    copied = shell.ok("cp", "tiny:1m", "mine:v1", "--json").json
    assert (copied["name"], copied["follows"]) == ("mine:v1", "")
    stored_model(store, data=b"GGUF two")
    versions = {row["name"]: row["version"] for row in shell.ok("list", "--json").json}
    assert versions["mine:v1"] == copied["version"] != versions["tiny:1m"]
    assert len(list(store.root.glob("blobs/*"))) == 2
    shell.ok("rm", "tiny:1m")
    assert [row[0] for row in shell.ok("list").rows] == ["NAME", "mine:v1"]
    assert blob_of(store, b"GGUF one").exists()


def test_a_copy_without_a_tag_gets_that_of_the_model(shell: Shell, store: Store) -> None:
    stored_model(store)
    shell.ok("cp", "tiny:1m", "mine")
    assert [manifest.name for manifest in store.survey().manifests] == ["mine:1m", "tiny:1m"]
