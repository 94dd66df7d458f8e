"""`localllm list`, `pull` and `rm`: what they print, for people and for scripts, and how they refuse."""

import os
import shutil
from pathlib import Path

import pytest

from localllm.cli.rows import model_rows
from localllm.models.catalog import Catalog
from localllm.models.storage.store import Store
from tests.cli.blobs import blob_of
from tests.cli.shell import Shell
from tests.models.cards import stored_model
from tests.models.hub import Hub

STARTER = "smollm2:135m"
MUCH = 10**12  # bytes of memory
ROW = {
    *("name", "quant", "size_bytes", "is_estimate", "license", "is_here", "is_linked", "is_pinned", "is_whole"),
    *("fits", "created", "version", "source", "quants"),
}
MANIFEST = {"name", "version", "created", "format", "quant", "license", "source", "follows", "defaults", "files"}


def test_an_empty_list_says_how_to_get_a_model(shell: Shell, store: Store) -> None:
    told = shell.ok("list")
    assert told.out == ""  # for a script: no model
    assert "localllm list --all" in told.err
    assert shell.ok("list", "--json").json == []
    assert not store.root.exists()


def test_all_lists_what_is_here_and_what_could_be(shell: Shell, store: Store) -> None:
    stored_model(store, "tiny:1m", b"GGUF" * 250_000)
    stored_model(store, STARTER)
    heading, *rows = shell.ok("list", "--all").rows
    assert heading == ["NAME", "QUANT", "SIZE", "LICENSE", "SINCE", "STATE"]
    here = [row for row in rows if row[-1] == "here"]
    assert [row[:5] for row in here] == [[STARTER, "Q4_0", "1", "kB", "mit"], ["tiny:1m", "Q4_0", "1", "MB", "mit"]]
    assert [row[0] for row in rows].count(STARTER) == 1
    assert ["qwen3:4b", "Q4_K_M", "~2.5", "GB", "apache-2.0"] in [row[:5] for row in rows]


def test_a_model_that_is_too_large_for_now_is_marked(store: Store) -> None:
    rows = {row.name: row for row in model_rows(store, Catalog.bundled(), 2_000_000_000)}
    assert (rows["qwen3:8b"].fits, rows["smollm2:360m"].fits) == (False, True)
    assert rows["qwen3:8b"].quant == min(rows["qwen3:8b"].quants, key=lambda quant: quant != "Q4_K_M")
    assert all(row.fits for row in model_rows(store, Catalog.bundled(), MUCH))


def test_the_list_for_scripts(shell: Shell, store: Store) -> None:
    manifest = stored_model(store)
    rows = shell.ok("list", "--all", "--json").json
    here, *known = rows
    assert all(set(row) == ROW for row in rows)
    assert (here["name"], here["is_here"], here["source"]) == ("tiny:1m", True, "a test")
    assert (here["size_bytes"], here["version"]) == (manifest.size_bytes, manifest.version)
    starter = next(row for row in known if row["name"] == STARTER)
    assert (starter["is_here"], starter["quant"], starter["size_bytes"]) == (False, "Q4_1", 98_362_432)
    assert not starter["is_estimate"]


def test_a_long_name_is_whole(shell: Shell, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = f"{'long' * 16}:{'tag' * 20}"
    stored_model(store, name)
    told = shell.ok("list")
    assert len(told.rows) == 2
    assert told.rows[1][0] == name


def test_a_model_whose_files_are_gone_is_marked(shell: Shell, store: Store) -> None:
    stored_model(store, data=b"GGUF and more")
    blob_of(store, b"GGUF and more").unlink()
    assert shell.ok("list").rows[1][-2:] == ["files", "missing"]


def test_rm_frees_a_model(shell: Shell, store: Store) -> None:
    stored_model(store, STARTER, b"GGUF" * 250_000)
    told = shell.ok("rm", "SmolLM2")
    assert (told.out, told.err) == ("", f"Removed {STARTER}, 1 MB freed.\n")
    assert not list(store.root.glob("blobs/*"))
    assert shell.ok("list", "--json").json == []


def test_rm_for_scripts(shell: Shell, store: Store) -> None:
    manifest = stored_model(store)
    told = shell.ok("rm", "tiny:1m", "tiny:1M", "--json")
    assert told.json == [{"removed": "tiny:1m", "freed_bytes": manifest.size_bytes}]
    assert told.err == ""


def test_rm_removes_all_or_nothing(shell: Shell, store: Store) -> None:
    stored_model(store)
    assert shell("rm", "tiny:1m", "tiny:2m").code == 3
    assert store.find("tiny:1m") is not None


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("rm", "../../etc:passwd"), 3, "etc:passwd"),
        (("rm",), 2, "models"),
        (("pull", "smolm2"), 3, "did you mean smollm2"),
        (("pull", "qwen3"), 3, "qwen3:0.6b, qwen3:1.7b"),
        (("pull", "org/repo:Q9"), 4, "offline"),
        (("pull", "a/b:c:d"), 3, "org/repo"),
        (("pull", "qwen3:4b-q3_k_m"), 3, "its card has"),
        (("pull", "echo:"), 2, "used where it is"),
        (("pull", __file__), 5, "is not a GGUF file"),
        (("pull",), 2, "model"),
        (("pull", STARTER, "--limit-rate", "fast"), 2, "--limit-rate"),
        (("pull", STARTER, "--connections", "99"), 2, "--connections"),
    ],
)
def test_a_mistake_has_a_line_and_a_code(shell: Shell, arguments: tuple[str, ...], code: int, word: str) -> None:
    told = shell(*arguments, *(["--offline"] if arguments[0] == "pull" and len(arguments) > 1 else []))
    assert told.code == code, told.err
    assert word in told.err
    assert told.out == ""


def test_a_file_that_is_called_like_a_stored_model_is_not_that_model(
    shell: Shell, store: Store, tiny_model: Path, tmp_path: Path
) -> None:
    stored_model(store)
    if os.name == "nt":
        pytest.skip("a file's name cannot have a colon")
    shutil.copyfile(tiny_model, tmp_path / "tiny:1m.gguf")
    told = shell("pull", str(tmp_path / "tiny:1m.gguf"))
    assert told.code == 2
    assert "used where it is" in told.err


def test_damaged_manifests_are_all_told_beside_the_others_and_mended(shell: Shell, store: Store) -> None:
    for name in ("tiny:1m", "tiny:2m", "tiny:3m"):
        stored_model(store, name)
    for name in ("tiny+1m", "tiny+2m"):
        (store.root / "manifests" / name / "head.json").write_text("{")
    told = shell("list")
    assert told.code == 4
    assert [row[0] for row in told.rows] == ["NAME", "tiny:3m"]
    first, second = told.err.splitlines()
    assert "localllm rm tiny:1m" in first
    assert "localllm rm tiny:2m" in second
    assert shell.ok("rm", "tiny:1m", "tiny:2m").code == 0
    assert [row[0] for row in shell.ok("list").rows] == ["NAME", "tiny:3m"]


def test_pull_for_scripts(online: Shell, hub: Hub, models: list[bytes]) -> None:
    hub.commit("some-org/Tiny-GGUF", {"tiny.Q4_0.gguf": models[0]})
    told = online.ok("pull", "some-org/Tiny-GGUF", "--json")
    assert set(told.json) == MANIFEST
    assert told.json["name"] == "some-org/Tiny-GGUF:Q4_0"
    assert online.ok("pull", "some-org/Tiny-GGUF", "--json").json == told.json


def test_a_pull_takes_up_what_an_earlier_one_left(online: Shell, hub: Hub, models: list[bytes]) -> None:
    hub.commit("some-org/Tiny-GGUF", {"tiny.Q4_0.gguf": models[0]})
    hub.faults.get_status = 404
    assert online("pull", "some-org/Tiny-GGUF").code == 4
    assert online.ok("list").out == ""
    hub.faults.get_status = 0
    assert "SHA-256 verified" in online.ok("pull", "some-org/Tiny-GGUF").err


def test_a_model_that_no_program_of_ours_could_load_is_not_kept(online: Shell, hub: Hub) -> None:
    hub.commit("some-org/Tiny-GGUF", {"tiny.Q4_0.gguf": b"GGUF and then nothing"})
    told = online("pull", "some-org/Tiny-GGUF")
    assert (told.code, told.out) == (5, "")
    assert online.ok("list").out == ""


def test_a_checkpoint_is_pulled_with_a_warning_and_never_to_be_run(online: Shell, hub: Hub) -> None:
    hub.commit("some-org/Tiny", {"config.json": b"{}", "model.safetensors": b"\x02" + bytes(7) + b"{}"})
    told = online("run", "--model", "some-org/Tiny", "Hi")
    assert (told.code, told.out) == (5, "")
    assert "is a checkpoint, which no engine here runs as it is; name a repository of GGUF files" in told.err
    assert hub.gets() == []
    assert "Warning: some-org/Tiny:safetensors is a checkpoint" in online.ok("pull", "some-org/Tiny").err
    assert online.ok("list").rows[1][0] == "some-org/Tiny:safetensors"


def test_a_home_that_is_no_folder_is_named(
    online: Shell, hub: Hub, models: list[bytes], clean_environment: Path
) -> None:
    hub.commit("some-org/Tiny-GGUF", {"tiny.Q4_0.gguf": models[0]})
    (clean_environment / "models").write_text("x")
    told = online("pull", "some-org/Tiny-GGUF")
    assert told.code == 1
    assert str(clean_environment / "models") in told.err


@pytest.mark.real_model
def test_the_starter_model_is_not_pulled_again(
    shell: Shell, starter_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALLLM_HOME", str(starter_home))
    told = shell.ok("pull", "smollm2", "--json", "--offline")
    assert told.err == f"{STARTER} is already on this disk.\n"
    digest = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert [file["sha256"] for file in told.json["files"]] == [digest]
