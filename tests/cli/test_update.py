"""`localllm update`, `history`, `rollback` and `pin`: what changes, what is fetched for it, and what stays."""

import pytest

from localllm.models.storage.store import Store
from tests.cli.shell import Shell
from tests.models.cards import stored_model
from tests.models.hub import Hub
from tests.models.hub_contents import git_sha1, sha256

REPOSITORY = "some-org/Tiny"
NAME = f"{REPOSITORY}:safetensors"
WEIGHTS = b"\x02" + b"\x00" * 7 + b"{}" + b"weights"


def checkpoint(config: bytes, weights: bytes = WEIGHTS) -> dict[str, bytes]:
    return {"config.json": config, "model.safetensors": weights, "tokenizer.json": b'{"version": "1.0"}'}


def test_only_files_that_changed_are_fetched(online: Shell, hub: Hub) -> None:
    hub.commit(REPOSITORY, checkpoint(b'{"model_type": "llama"}'))
    online.ok("pull", REPOSITORY)
    hub.log.clear()
    hub.commit(REPOSITORY, checkpoint(b'{"model_type": "llama", "rope_theta": 1}'))
    assert online.ok("update").out.endswith(", 1 kB fetched\n")
    assert {asked.path.rpartition("/")[2] for asked in hub.gets()} == {"config.json"}


def test_nothing_is_fetched_for_a_new_commit_with_the_same_files(online: Shell, hub: Hub) -> None:
    hub.commit(REPOSITORY, checkpoint(b"{}"))
    online.ok("pull", REPOSITORY)
    hub.commit(REPOSITORY, checkpoint(b"{}") | {"docs/more.md": b"# More"})
    hub.log.clear()
    assert online.ok("update").out == f"{NAME}: nothing newer\n"
    assert hub.gets() == []


def test_back_and_forth_without_the_hub(online: Shell, hub: Hub) -> None:
    hub.commit(REPOSITORY, checkpoint(b"{}"))
    online.ok("pull", REPOSITORY)
    hub.commit(REPOSITORY, checkpoint(b"[]"))
    online.ok("update")
    hub.log.clear()
    (_, old, new) = (row[0] for row in online.ok("history", NAME).rows)
    assert old in online.ok("rollback", NAME).err
    assert new in online.ok("rollback", NAME, new[:4]).err
    assert online.ok("rollback", NAME, old.upper(), "--json").json["version"] == old
    assert hub.log == []
    told = online("rollback", NAME)
    assert (told.code, told.out) == (2, "")
    assert f"there is no earlier version of {NAME}" in told.err
    assert online("rollback", NAME, "zzz").code == 2


def test_history_for_scripts(shell: Shell, store: Store) -> None:
    old = stored_model(store, data=b"GGUF one")
    new = stored_model(store, data=b"GGUF two")
    rows = shell.ok("history", "tiny:1m", "--json").json
    assert [(row["version"], row["in_use"]) for row in rows] == [(old.version, False), (new.version, True)]


def test_one_that_fails_keeps_the_others_from_nothing(online: Shell, hub: Hub, models: list[bytes]) -> None:
    for name in ("a-org/Tiny", "b-org/Tiny"):
        hub.commit(name, checkpoint(b"{}"))
        online.ok("pull", name)
    del hub.repositories["a-org/Tiny"]
    hub.commit("b-org/Tiny", checkpoint(b"[]"))
    told = online("update", "--json")
    assert told.code == 3  # that of what went wrong
    assert [outcome["state"] for outcome in told.json] == ["failed", "updated"]
    assert told.err.splitlines()[-1].startswith(
        "localllm: a-org/Tiny:safetensors could not be updated: there is no a-org/Tiny"
    )


def test_offline_nothing_can_be_updated(online: Shell, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit(REPOSITORY, checkpoint(b"{}"))
    online.ok("pull", REPOSITORY)
    hub.log.clear()
    for arguments in (["update", "--offline"], ["update", "--check", NAME]):
        told = online(*arguments)
        assert (told.code, told.out) == (4, "")
        assert f"{NAME} could not be updated: offline mode forbids asking the hub" in told.err
        monkeypatch.setenv("LOCALLLM_OFFLINE", "1")
    assert hub.log == []


def test_a_model_that_follows_nothing_stays(online: Shell, hub: Hub) -> None:
    commit = hub.commit(REPOSITORY, checkpoint(b"{}"))
    online.ok("pull", f"{REPOSITORY}@{commit}")
    online.ok("cp", REPOSITORY, "mine:v1")
    hub.commit(REPOSITORY, checkpoint(b"[]"))
    hub.log.clear()
    told = online.ok("update")
    assert [line.partition(" it is")[0] for line in told.out.splitlines()] == [
        "mine:v1: follows nothing:",
        f"{NAME}: follows nothing:",
    ]
    assert hub.log == []


def test_without_models_there_is_nothing_to_update(shell: Shell) -> None:
    for verb in ("update", "verify", "repair"):
        told = shell.ok(verb)
        assert told.out == ""
        assert "No models on this disk yet" in told.err
        assert shell.ok(verb, "--json").json == []


def test_a_pin_holds_earlier_versions_too(shell: Shell, store: Store) -> None:
    stored_model(store, data=b"GGUF one")
    stored_model(store, data=b"GGUF two")
    pinned = shell.ok("pin", "tiny:1m", "--json").json
    assert pinned["is_pinned"]
    assert shell.ok("history", "tiny:1m").rows[2][-3:] == ["in", "use,", "pinned"]
    assert shell.ok("gc", "--old-versions", "--json").json == {"garbage": [], "freed_bytes": 0}
    shell.ok("pin", "tiny:1m", "--off")
    assert shell.ok("gc", "--old-versions").err == "1 kB freed.\n"
    assert len(shell.ok("history", "tiny:1m").rows) == 2


def test_a_pinned_model_is_not_asked_about(online: Shell, hub: Hub) -> None:
    hub.commit(REPOSITORY, checkpoint(b"{}"))
    online.ok("pull", REPOSITORY)
    online.ok("pin", REPOSITORY)
    hub.log.clear()
    (outcome,) = online.ok("update", "--json").json
    assert outcome["state"] == "pinned"
    assert hub.log == []


def test_what_the_hub_is_asked_for_is_what_it_has(online: Shell, hub: Hub) -> None:
    """The test above would pass if nothing ever were fetched."""
    hub.commit(REPOSITORY, checkpoint(b"{}"))
    online.ok("pull", REPOSITORY)
    ends = {asked.path.rpartition("/")[2] for asked in hub.gets()}
    assert ends == {"config.json", "tokenizer.json", sha256(WEIGHTS)}
    assert git_sha1(b"{}") not in ends
