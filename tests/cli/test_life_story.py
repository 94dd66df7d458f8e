"""The life of a model on this disk, from the first pull to the last byte removed, as one user would live it."""

import pytest

from localllm.models.storage.store import Store
from tests.cli.blobs import blob_of, damage, has
from tests.cli.shell import Shell
from tests.models.hub import Hub
from tests.models.hub_contents import sha256

REPOSITORY = "some-org/Tiny-GGUF"
Q8, Q4 = f"{REPOSITORY}:Q8_0", f"{REPOSITORY}:Q4_K_M"


def fetched(hub: Hub) -> list[str]:
    """The digests of the files whose bytes were asked for since this was last called."""
    digests = [asked.path.removeprefix("/cdn/") for asked in hub.gets() if asked.path.startswith("/cdn/")]
    hub.log.clear()
    return digests


def test_from_pull_to_gc(online: Shell, hub: Hub, store: Store, models: list[bytes]) -> None:
    first, small, second = models
    hub.commit(REPOSITORY, {"tiny.Q8_0.gguf": first, "tiny.Q4_K_M.gguf": small})
    _is_pulled(online, hub, store, first, small)
    hub.commit(REPOSITORY, {"tiny.Q8_0.gguf": second, "tiny.Q4_K_M.gguf": small})
    _is_updated_and_rolled_back(online, hub, store, first, second)
    _is_pinned(online, hub)
    _is_damaged_and_mended(online, hub, store, first, small)
    _gets_other_names(online, hub)
    _is_removed(online, store, first, second)


def _is_pulled(shell: Shell, hub: Hub, store: Store, first: bytes, small: bytes) -> None:
    told = shell.ok("pull", REPOSITORY)
    assert "No quant was named; taking Q8_0: " in told.err
    assert f"Got {Q8} (435 kB, apache-2.0), SHA-256 verified." in told.err
    assert told.out == ""
    assert fetched(hub) == [sha256(first)]
    assert shell.ok("pull", f"{REPOSITORY}:q4_k_m").err.splitlines()[-1].startswith(f"Got {Q4} (")
    assert fetched(hub) == [sha256(small)]
    assert [row[:2] for row in shell.ok("list").rows] == [["NAME", "QUANT"], [Q4, "Q4_K_M"], [Q8, "Q8_0"]]
    assert str(blob_of(store, first)) in shell.ok("show", Q8).out
    assert hub.log == []


def _is_updated_and_rolled_back(shell: Shell, hub: Hub, store: Store, first: bytes, second: bytes) -> None:
    lines = shell.ok("update", "--check").out.splitlines()
    assert lines == [f"{Q4}: nothing newer", f"{Q8}: a newer version is there, 435 kB to fetch"]
    assert fetched(hub) == []
    assert not has(store, second)
    before, after, current = shell.ok("update").out, shell.ok("history", Q8).rows, shell.ok("list", "--json").json
    assert before.splitlines()[0] == f"{Q4}: nothing newer"
    assert fetched(hub) == [sha256(second)]
    assert has(store, first)
    (_, old, new) = after
    assert (old[-1], new[-2:]) == (f"{REPOSITORY}@{_commit(hub, 0)}", ["in", "use"])
    assert before.splitlines()[1] == f"{Q8}: version {new[0]}, 435 kB fetched"
    assert current[1]["version"] == new[0]
    assert f"{Q8} is at version {old[0]}" in shell.ok("rollback", Q8).err
    assert [row[-2:] == ["in", "use"] for row in shell.ok("history", Q8).rows] == [False, True, False]
    assert hub.log == []


def _commit(hub: Hub, number: int) -> str:
    return list(hub.repositories[REPOSITORY].commits)[number][:7]


def _is_pinned(shell: Shell, hub: Hub) -> None:
    assert f"{Q8} stays at version" in shell.ok("pin", Q8).err
    told = shell.ok("update").out.splitlines()
    assert told[1].startswith(f"{Q8}: pinned to version ")
    assert [row[-1] for row in shell.ok("list").rows][2] == "pinned"
    assert shell.ok("pin", Q8, "--off").err == f"{Q8} follows updates again.\n"
    assert shell.ok("update", "--check", Q8).out == f"{Q8}: a newer version is there, 0 kB to fetch\n"
    assert fetched(hub) == []


def _is_damaged_and_mended(shell: Shell, hub: Hub, store: Store, first: bytes, small: bytes) -> None:
    assert shell.ok("verify").out.splitlines() == [f"{Q4}: every file is right", f"{Q8}: every file is right"]
    damage(store, first)
    told = shell("verify")
    assert told.code == 4
    assert f"{Q8}: tiny.Q8_0.gguf: wrong bytes (SHA-256 " in told.out
    assert told.err == f"localllm: broken: {Q8}. Mend with: localllm repair {Q8}\n"
    assert hub.log == []
    assert shell.ok("repair").out.splitlines() == [f"{Q4}: every file is right", f"{Q8}: mended tiny.Q8_0.gguf"]
    assert fetched(hub) == [sha256(first)]
    assert has(store, first)
    assert has(store, small)
    assert shell.ok("verify", Q8).code == 0


def _gets_other_names(shell: Shell, hub: Hub) -> None:
    assert shell.ok("cp", Q8, "mine:v1").err.startswith("mine:v1 is here now")
    assert shell.ok("alias", "coder", Q8).err == f"coder stands for {Q8}.\n"
    assert shell.ok("pull", "coder").err.startswith(f"{Q8} is already on this disk.")
    assert shell.ok("show", "coder").rows[0] == ["name", Q8]
    assert shell.ok("show", "mine:v1").rows[0] == ["name", "mine:v1"]
    assert hub.log == []
    rows = shell.ok("du").rows
    assert rows[1] == ["mine:v1", "1", "435", "kB", "0", "kB"]  # all of it is shared
    assert rows[3] == [Q8, "2", "870", "kB", "435", "kB"]


def _is_removed(shell: Shell, store: Store, first: bytes, second: bytes) -> None:
    assert shell.ok("rm", Q8).err.splitlines() == [
        f"Removed {Q8}, 435 kB freed.",
        "The alias coder is left; forget it with: localllm alias coder --remove",
    ]
    assert has(store, first)  # mine:v1 has it
    assert not has(store, second)
    (store.part_path(sha256(second))).write_bytes(second[:4096])  # a download that was given up
    told = shell.ok("gc", "--dry-run")
    assert [(row[0], row[-1]) for row in told.rows] == [("KIND", "WHAT"), ("part", f"{sha256(second)}.part")]
    assert told.err.endswith(" kB would be freed.\n")
    assert store.part_path(sha256(second)).exists()
    assert shell.ok("gc").err.endswith(" kB freed.\n")
    assert not store.part_path(sha256(second)).exists()
    assert shell.ok("gc").err == "There is nothing to remove.\n"
    assert [row[0] for row in shell.ok("list").rows] == ["NAME", "mine:v1", Q4]


@pytest.mark.parametrize("verb", ["show", "rollback", "history", "pin", "rm", "verify", "repair", "update"])
def test_a_model_that_is_not_here(shell: Shell, verb: str) -> None:
    told = shell(verb, "tiny:1m")
    assert (told.code, told.out) == (3, "")
    assert "'tiny:1m'" in told.err
    assert "see: localllm list" in told.err
    assert len(told.err.splitlines()) == 1
