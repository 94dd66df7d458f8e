"""Programs of ExecuTorch as models of the store: imported, linked, pulled, looked at, mended, renewed, removed."""

from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.cli.blobs import blob_of
from tests.cli.shell import Shell
from tests.models.hub import Hub
from tests.models.hub_contents import sha256
from tests.models.pte.programs import TOKENIZER, program
from tests.models.repositories import EXPORTED, NAME

PTE = program()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A program with its tokenizer."""
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "Tiny.pte").write_bytes(PTE)
    (folder / "tokenizer.json").write_bytes(TOKENIZER)
    return folder


@pytest.mark.parametrize("place", ["Tiny.pte", ""])
@pytest.mark.parametrize("link", [(), ("--link",)])
def test_an_import_takes_the_tokenizer_along(shell: Shell, exported: Path, place: str, link: tuple[str, ...]) -> None:
    manifest = shell.ok("import", *link, str(exported / place), "--name", "mine", "--json").json
    assert (manifest["name"], manifest["format"]) == ("mine:pte", "pte")
    assert [file["filename"] for file in manifest["files"]] == ["Tiny.pte", "tokenizer.json"]
    sheet = shell.ok("show", "mine", "--json").json
    assert sheet["where"] == ("in place" if link else "here")
    assert (sheet["context_tokens"], sheet["call_tokens"], sheet["vocabulary"], sheet["layers"]) == (512, 64, 256, 2)
    assert (sheet["backends"], sheet["tokenizer"]) == (["XnnpackBackend"], "tokenizer.json")
    assert shell.ok("verify", "mine").code == 0


def test_what_is_shown_of_it(shell: Shell, exported: Path) -> None:
    shown = shell.ok("show", str(exported / "Tiny.pte")).rows
    assert ["back", "ends", "XnnpackBackend"] in shown
    assert ["context", "512", "tokens"] in shown
    assert ["tokenizer", "tokenizer.json"] in shown
    plan = shell.ok("plan", str(exported / "Tiny.pte")).rows
    assert ["runs", "on", "executorch,", "cpu"] in plan
    told = shell("plan", str(exported / "Tiny.pte"), "--context", "513", "--json")
    assert (told.code, told.json["forecast"]["fits"], told.json["facts"]["layers"]) == (6, False, 2)
    assert "exported for 512 tokens" in told.err


def test_it_is_kept_like_any_other(shell: Shell, store: Store, exported: Path) -> None:
    shell.ok("import", str(exported), "--name", "mine")
    shell.ok("cp", "mine", "copy:pte")
    shell.ok("alias", "it", "mine:pte")
    assert shell.ok("show", "it", "--json").json["name"] == "mine:pte"
    assert {row["name"] for row in shell.ok("list", "--json").json} == {"copy:pte", "mine:pte"}
    assert shell.ok("du", "--json").code == 0
    shell.ok("rm", "mine:pte")
    assert shell.ok("show", "copy:pte", "--json").json["context_tokens"] == 512
    shell.ok("rm", "copy:pte")
    assert list(store.blobs.digests()) == []


def test_a_program_that_changed_in_its_place_is_noticed(shell: Shell, exported: Path) -> None:
    shell.ok("import", "--link", str(exported), "--name", "mine")
    (exported / "tokenizer.json").write_bytes(TOKENIZER + b" ")
    told = shell("run", "--model", "mine:pte", "hello")
    assert (told.code, len(told.err.splitlines())) == (5, 1)
    assert f"{exported / 'tokenizer.json'} has changed since mine:pte was imported" in told.err


def test_from_the_hub_and_renewed(online: Shell, hub: Hub, store: Store) -> None:
    name = f"{NAME}:pte"
    hub.commit(NAME, EXPORTED)
    shown = online.ok("show", NAME, "--json").json
    assert shown["programs"] == {"mobile/tiny.pte": len(PTE)}
    plan = online.ok("plan", name, "--json").json
    files = ("mobile/tiny.pte", "mobile/tokenizer.json", "mobile/chat_template.jinja")
    assert plan["download_bytes"] == sum(len(EXPORTED[path]) for path in files)
    online.ok("pull", name)
    first = online.ok("show", name, "--json").json
    newer = program(weights=b"better." * 100)
    hub.commit(NAME, EXPORTED | {"mobile/tiny.pte": newer})
    online.ok("pin", name)
    online.ok("update")
    assert online.ok("show", name, "--json").json["version"] == first["version"]
    online.ok("pin", name, "--off")
    online.ok("update", name)
    second = online.ok("show", name, "--json").json
    assert second["files"][0]["sha256"] == sha256(newer)
    online.ok("rollback", name)
    assert online.ok("show", name, "--json").json["version"] == first["version"]


def test_a_damaged_one_is_mended(online: Shell, hub: Hub, store: Store) -> None:
    hub.commit(NAME, EXPORTED)
    online.ok("pull", f"{NAME}:pte")
    path = blob_of(store, PTE)
    path.chmod(0o600)
    path.write_bytes(PTE[:-1] + b"!")
    assert online("verify", f"{NAME}:pte").code == 4
    online.ok("repair", f"{NAME}:pte")
    online.ok("verify", f"{NAME}:pte")
    assert blob_of(store, PTE).read_bytes() == PTE
