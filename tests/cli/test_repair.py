"""`localllm verify` and `repair`: every kind of damage is told, and only what is broken is fetched again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.cli.blobs import blob_of, damage, has
from tests.cli.shell import Shell
from tests.models.hub import Hub
from tests.models.hub_contents import sha256

REPOSITORY = "some-org/Small-GGUF"
NAME = f"{REPOSITORY}:Q4_0"


@pytest.fixture
def model(online: Shell, hub: Hub, models: list[bytes]) -> bytes:
    """The bytes of NAME, which is here; nothing was asked of the hub since."""
    hub.commit(REPOSITORY, {"tiny.Q4_0.gguf": models[0]})
    online.ok("pull", REPOSITORY)
    hub.log.clear()
    return models[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize(
    ("harm", "words"), [(Path.unlink, "missing"), (cut, "wrong size"), (flip, "wrong bytes (SHA-256 ")]
)
def test_damage_is_told_and_mended(
    online: Shell, hub: Hub, store: Store, model: bytes, harm: Callable[[Path], object], words: str
) -> None:
    path = blob_of(store, model)
    path.chmod(0o600)
    harm(path)
    told = online("verify")
    assert (told.code, told.err) == (4, f"localllm: broken: {NAME}. Mend with: localllm repair {NAME}\n")
    assert told.out.startswith(f"{NAME}: tiny.Q4_0.gguf: {words}")
    assert online("verify", "--json").json[0]["files"][0]["fault"] == words.partition(" (")[0]
    assert online.ok("repair", NAME, "--json").json == [{"name": NAME, "files": ["tiny.Q4_0.gguf"]}]
    assert has(store, model)
    assert [asked.path for asked in hub.gets()] == [f"/cdn/{sha256(model)}"]


def test_a_file_of_two_models_is_fetched_once(online: Shell, hub: Hub, store: Store, model: bytes) -> None:
    online.ok("cp", NAME, "mine:v1")
    damage(store, model)
    assert online("verify").err == f"localllm: broken: mine:v1, {NAME}. Mend with: localllm repair mine:v1 {NAME}\n"
    told = online.ok("repair").out.splitlines()
    assert told == ["mine:v1: mended tiny.Q4_0.gguf", f"{NAME}: every file is right"]
    assert len(hub.gets()) == 1


def test_what_cannot_be_mended_says_why_and_stops_nothing(
    online: Shell, hub: Hub, store: Store, model: bytes, tiny_model: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(tiny_model.read_bytes())
    online.ok("import", "--link", str(own), "--name", "a:1")
    own.unlink()
    damage(store, model)
    told = online("repair")
    assert told.code == 5
    assert told.out == f"{NAME}: mended tiny.Q4_0.gguf\n"
    assert f"a:1 came from {own} on this machine and cannot be fetched; bring that file back" in told.err


def test_offline_what_is_broken_stays_so(online: Shell, hub: Hub, store: Store, model: bytes) -> None:
    damage(store, model)
    told = online("repair", "--offline")
    assert (told.code, told.out) == (4, "")
    assert "offline mode forbids fetching it" in told.err
    assert hub.log == []


def test_a_hub_that_has_lost_the_file_is_named(online: Shell, hub: Hub, store: Store, model: bytes) -> None:
    damage(store, model)
    del hub.repositories[REPOSITORY]
    told = online("repair")
    assert told.code == 4
    assert f"no source could deliver tiny.Q4_0.gguf. Hugging Face repository {REPOSITORY}: " in told.err
    assert [row["name"] for row in online.ok("list", "--json").json] == [NAME]


def test_a_manifest_that_cannot_be_read_is_told_with_the_rest(online: Shell, store: Store, model: bytes) -> None:
    online.ok("cp", NAME, "mine:v1")
    (store.root / "manifests" / "mine+v1" / "head.json").write_text("{")
    for verb in ("verify", "repair"):
        told = online(verb)
        assert (told.code, told.out) == (4, f"{NAME}: every file is right\n")
        assert "localllm rm mine:v1" in told.err


def test_one_name_given_twice_is_read_once(online: Shell, model: bytes) -> None:
    assert online.ok("verify", NAME, REPOSITORY).out == f"{NAME}: every file is right\n"
