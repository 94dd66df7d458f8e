"""`localllm plan`: where a model would run, with what, and why."""

from pathlib import Path

import pytest

from tests import tiny
from tests.cli.shell import Shell, Told


def fields(told: Told) -> dict[str, str]:
    return {line[:14].strip(): line[14:] for line in told.out.splitlines() if line[:14].strip()}


def test_what_was_chosen_is_told_to_a_person(shell: Shell, tiny_model: Path) -> None:
    told = shell.ok("plan", str(tiny_model), "--prefer", "quiet")
    plan = fields(told)
    assert plan["runs on"] == "llama_cpp, cpu"
    assert (plan["context"], plan["at once"], plan["KV"]) == ("1024 tokens", "16 answers", "f16")
    assert plan["threads"].startswith("up to ")
    assert "CPU: llama.cpp here is built without a GPU back end; install" in told.out
    assert "quiet: fewer threads" in told.out


def test_and_to_scripts(shell: Shell, tiny_model: Path) -> None:
    options = ("--context", "512", "--parallel", "2", "--threads", "1", "--device", "cpu", "--prefer", "battery")
    told = shell.ok("plan", str(tiny_model), *options, "--json").json
    plan = told["plan"]
    assert (plan["device"], plan["placement"]["gpu_layers"], plan["layers"]) == ("cpu", 0, 3)
    assert (plan["context_tokens"], plan["jobs"], plan["threads"], plan["kv_type"]) == (512, 2, 1, "f16")
    assert plan["reasons"] == ["CPU: as asked", "battery: fewer threads while it runs on battery"]
    assert told["device"] == "cpu"
    assert "shape" not in told


@pytest.mark.parametrize(
    ("device", "code", "words"),
    [
        ("gpu", 5, "device gpu: llama.cpp here is built without a GPU back end; install a build of llama-cpp-python"),
        ("npu", 5, "llama.cpp has no NPU back end here; OpenVINO has one"),
        ("CUDA0", 2, "llama.cpp has no 'CUDA0' here; there is cpu"),
    ],
)
def test_a_device_that_is_not_here(shell: Shell, tiny_model: Path, device: str, code: int, words: str) -> None:
    told = shell("plan", str(tiny_model), "--device", device)
    assert (told.code, told.out, len(told.err.splitlines())) == (code, "", 1)
    assert words in told.err


def test_small_kv(shell: Shell, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = shell("plan", str(tiny_model), "--kv-type", "q8_0")
    assert (refused.code, refused.out) == (2, "")
    assert "needs heads of whole 32 values" in refused.err
    monkeypatch.setattr(tiny, "HEADS", 2)
    monkeypatch.setattr(tiny, "KV_HEADS", 1)
    wide = str(tiny.write_tiny_model(tmp_path / "wide.gguf"))
    usual, small = (shell.ok("plan", wide, "--kv-type", kind, "--json").json for kind in ("f16", "q8_0"))
    assert usual["forecast"]["footprint"]["kv_bytes"] * 34 == small["forecast"]["footprint"]["kv_bytes"] * 64
    assert fields(shell.ok("plan", wide, "--kv-type", "q8_0"))["KV"] == "q8_0"
    assert any("KV in 8 bits" in reason for reason in small["plan"]["reasons"])
