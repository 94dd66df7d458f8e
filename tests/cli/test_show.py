"""`localllm show` and `plan`: what a model is and needs, be it here or not; what cannot fit is refused."""

from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.cli.blobs import blob_of
from tests.cli.shell import Shell, Told
from tests.models.gguf.headers import model, words
from tests.models.hub import Hub
from tests.models.hub_contents import sha256
from tests.tiny import CONTEXT, write_tiny_model

REPOSITORY = "some-org/Tiny-GGUF"
PARAMETERS = 107_200  # of the tiny model


@pytest.fixture
def repository(online: Shell, hub: Hub, models: list[bytes]) -> str:
    """A repository of two models and more."""
    files = {"tiny.Q4_0.gguf": models[0], "tiny.Q8_0.gguf": models[1], "README.md": b"# Tiny", "mmproj-F16.gguf": b"GG"}
    return hub.commit(REPOSITORY, files, card={"license": "mit", "base_model": "some-org/Tiny"})


def fields(told: Told) -> dict[str, str]:
    """What stands beside each heading."""
    pairs = [(line[:14].strip(), line[14:]) for line in told.out.splitlines()]
    return {heading: text for heading, text in pairs if heading}


def test_a_stored_model(online: Shell, hub: Hub, store: Store, repository: str, models: list[bytes]) -> None:
    online.ok("pull", f"{REPOSITORY}:Q8_0")
    hub.log.clear()
    told = online.ok("show", REPOSITORY)
    assert fields(told) | {"here": "", "version": ""} == {
        "name": f"{REPOSITORY}:Q8_0",
        "where": "here",
        "version": "",
        "from": f"Hugging Face repository {REPOSITORY}",
        "commit": repository,
        "follows": "main",
        "license": "mit",
        "architecture": "llama",
        "parameters": "107 thousand",
        "context": f"{CONTEXT} tokens",
        "quant": "F32 (32.00 bits per weight)",
        "features": "tools, reasoning",
        "here": "",
        "file": "tiny.Q8_0.gguf, 435 kB",
    }
    assert f"SHA-256 {sha256(models[1])}" in told.out
    assert str(blob_of(store, models[1])) in told.out
    assert "it takes" in fields(told)["here"]
    assert hub.log == []


def test_a_stored_model_for_scripts(online: Shell, repository: str, models: list[bytes]) -> None:
    online.ok("pull", f"{REPOSITORY}:Q4_0")
    sheet = online.ok("show", f"{REPOSITORY}:q4_0", "--json").json
    assert (sheet["parameters"], sheet["bits_per_weight"], sheet["context_tokens"]) == (PARAMETERS, 32.0, CONTEXT)
    assert sheet["memory_bytes"] > sheet["size_bytes"] == len(models[0])
    assert "features" not in sheet  # this one has none


def test_a_repository_of_the_hub(online: Shell, hub: Hub, repository: str) -> None:
    told = online.ok("show", REPOSITORY)
    assert fields(told)["where"] == "not here"
    assert fields(told)["commit"] == repository
    assert fields(told)["base model"] == "some-org/Tiny"
    assert [row for row in told.rows if "Q8_0" in row or "Q4_0" in row] == [
        ["to", "pull", "Q8_0", "435", "kB"],
        ["Q4_0", "435", "kB"],
    ]
    assert hub.gets() == []


def test_a_known_model_is_shown_without_any_connection(shell: Shell) -> None:
    told = shell.ok("show", "qwen3:4b", "--offline")
    assert fields(told)["parameters"] == "4.02 billion"
    assert fields(told)["features"] == "tools, reasoning"
    assert "Q4_K_M  ~2.5 GB" in told.out
    sheet = shell.ok("show", "qwen3:4b-q8_0", "--offline", "--json").json
    assert (sheet["name"], sheet["where"], sheet["is_estimate"]) == ("qwen3:4b-q8_0", "not here", True)


def test_a_file_and_the_echo_engine(shell: Shell, tiny_model: Path) -> None:
    told = fields(shell.ok("show", str(tiny_model)))
    assert (told["name"], told["where"], told["architecture"]) == ("tiny", "in place", "llama")
    assert fields(shell.ok("show", "echo"))["name"] == "echo"


def test_text_of_strangers_cannot_drive_the_terminal(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "harm.gguf"
    path.write_bytes(model(words("general.license", "\x1b[2J")))
    for reference in (str(path), str(tmp_path / "\x1b[2J.gguf"), "\x1b[2J", "a/\x1b[2J"):
        told = shell("show", reference)
        assert "\x1b" not in told.out + told.err
        assert "\\x1b[2J" in told.out + told.err


def test_a_plan_fetches_the_header_alone(online: Shell, hub: Hub, repository: str, models: list[bytes]) -> None:
    told = online.ok("plan", REPOSITORY)
    plan = fields(told)
    assert plan["name"] == f"{REPOSITORY}:Q8_0"
    assert plan["architecture"] == "llama, 107 thousand parameters"
    assert plan["download"] == "435 kB"
    assert plan["runs on"] == "llama_cpp, cpu"
    assert plan["speed"] == "instant: an answer is there at once"
    assert "weights" in plan["because"]
    assert "KV" in plan["because"]
    assert "Q8_0: " in told.out  # why this one
    assert [asked.range for asked in hub.gets()] == [f"bytes=0-{len(models[1]) - 1}"]  # less than a MiB
    assert online.ok("list").out == ""


def test_a_plan_for_scripts(online: Shell, hub: Hub, repository: str, models: list[bytes]) -> None:
    online.ok("pull", f"{REPOSITORY}:Q8_0")
    hub.log.clear()
    plan = online.ok("plan", REPOSITORY, "--context", "512", "--parallel", "2", "--json").json
    assert set(plan) == {"name", "download_bytes", "quant_reason", "engine", "device", "facts", "forecast", "plan"}
    assert (plan["download_bytes"], plan["facts"]["bits_per_weight"]) == (0, 32.0)
    assert (plan["forecast"]["context_tokens"], plan["forecast"]["jobs"]) == (512, 2)
    assert hub.log == []


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (("--context", "2048"), f"use --context {CONTEXT} or less"),
        (("--context", "1024", "--parallel", "1000000"), "what fits: --context 1024 --parallel 1, or less"),
    ],
)
def test_what_cannot_fit_is_refused_with_what_would(
    shell: Shell, tiny_model: Path, options: tuple[str, ...], remedy: str
) -> None:
    told = shell("plan", str(tiny_model), *options)
    assert told.code == 6
    assert told.err.startswith("localllm: tiny does not fit: ")
    assert remedy in told.err
    assert len(told.err.splitlines()) == 1
    assert "speed" not in fields(told)
    assert shell("plan", str(tiny_model), *options, "--json").json["forecast"]["fits"] is False


@pytest.mark.parametrize(
    ("reference", "code", "word"),
    [
        ("echo", 5, "echo"),
        ("nowhere.gguf", 3, "nowhere.gguf"),
        ("some-org/Nothing", 3, "there is no some-org/Nothing"),
        (f"{REPOSITORY}:Q2_K", 3, "there is Q8_0, Q4_0"),
        ("qwen3", 3, "qwen3:0.6b"),
    ],
)
def test_what_has_no_plan(online: Shell, repository: str, reference: str, code: int, word: str) -> None:
    told = online("plan", reference)
    assert (told.code, told.out) == (code, ""), told.err
    assert word in told.err


def test_offline_a_model_that_is_not_here_has_no_plan(online: Shell, hub: Hub, repository: str) -> None:
    told = online("plan", REPOSITORY, "--offline")
    assert told.code == 4
    assert "offline" in told.err
    assert hub.log == []


def test_a_context_longer_than_the_file_says(shell: Shell, tmp_path: Path) -> None:
    """The check reads the file, not a name."""
    path = write_tiny_model(tmp_path / "long.gguf", context=4096)
    assert shell.ok("plan", str(path), "--context", "4096").code == 0


def test_a_model_that_came_without_a_card_has_none_to_print(online: Shell, repository: str) -> None:
    online.ok("pull", f"{REPOSITORY}:Q8_0")
    told = online("show", REPOSITORY, "--card")
    assert (told.code, told.out) == (3, "")
    assert f"{REPOSITORY}:Q8_0 has no card; see: localllm show" in told.err


def test_a_card_is_printed_as_text_that_no_terminal_obeys(online: Shell, hub: Hub) -> None:
    files = {"config.json": b"{}", "model.safetensors": b"x", "README.md": "# Tiny\n\n\x1b[2Jé\n".encode()}
    hub.commit("some-org/Tiny", files)
    online.ok("pull", "some-org/Tiny")
    assert online.ok("show", "some-org/Tiny", "--card").out == "# Tiny\n\n\\x1b[2Jé\n"
