"""`localllm quantize --to mlc` through the shell, with a fake of MLC's commands: no real one makes anything here."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from localllm.models.on_disk import from_manifest
from localllm.models.storage.store import Store
from localllm.quantize.provenance.card import read_made_file
from localllm.quantize.provenance.recipe import MlcChoices
from tests.cli.shell import Shell
from tests.cli.test_quantize import file_of, manifest_of, nothing_is_left, stages
from tests.convert.checkpoints import write_checkpoint
from tests.engines.mlc_fake.install import fake_mlc  # noqa: F401  # a fixture
from tests.processes import LOCALLLM
from tests.tiny import write_tiny_model

pytest.importorskip("tokenizers")

CONFIG = "mlc-chat-config.json"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny")


@pytest.mark.usefixtures("fake_mlc")
def test_a_checkpoint_becomes_a_model_of_mlc_that_answers_and_the_same_again(
    shell: Shell, store: Store, source: Path, tmp_path: Path
) -> None:
    told = shell.ok("quantize", str(source), "--to", "mlc", "--context", "256", "--device", "CPU")
    assert stages(told) == [
        "Making a model of MLC",
        "Making a model of MLC: converting weights",
        "Making a model of MLC: writing the config",
        "Making a model of MLC: compiling, which takes minutes",
    ]
    assert "localllm run --model tiny:mlc" in told.err
    manifest = manifest_of(store, "tiny:mlc")
    names = [file.filename for file in manifest.files]
    assert (manifest.format, manifest.quant, names[0]) == ("mlc", "q4f16_1", CONFIG)
    assert {"params_shard_0.bin", "tensor-cache.json", "tokenizer.json", "tokenizer_config.json"} < {*names}
    config = json.loads(file_of(store, "tiny:mlc", CONFIG).read_text("utf-8"))
    assert (config["context_window_size"], config["quantization"]) == (256, "q4f16_1")
    made = read_made_file(file_of(store, "tiny:mlc", "README.md"))
    assert made.recipe.mlc == MlcChoices(context_tokens=256, device="cpu")
    assert made.outcome.tensor_types == {"uint32": 1}
    assert made.outcome.bits_per_weight == pytest.approx(4.5, rel=0.01)
    assert (made.tools.mlc_llm, made.tools.llama_cpp) == ("unknown", "")
    card = shell.ok("show", "tiny:mlc", "--card").out
    assert "Converted by MLC LLM to q4f16_1 with a context of 256 tokens: 4 bits" in card
    assert from_manifest(manifest, store).engine == "mlc"

    compiled = list((tmp_path / "mlc-home" / "model_lib").iterdir())
    assert shell.ok("run", "--model", "tiny:mlc", "Hello").out.strip()
    assert list((tmp_path / "mlc-home" / "model_lib").iterdir()) == compiled  # at once, without a compiler

    again = shell.ok("quantize", "--from-card", "tiny:mlc", "--name", "again:mlc")
    assert "It is the same, bit for bit." in again.err
    assert shell.ok("list").out.count("mlc") >= 2
    assert "q4f16_1" in shell.ok("show", "tiny:mlc").out


@pytest.mark.usefixtures("fake_mlc")
def test_another_type_is_in_the_name(shell: Shell, store: Store, source: Path) -> None:
    told = shell.ok("quantize", str(source), "--to", "mlc", "--type", "q4F32_1", "--json").json
    assert (told["model"]["name"], told["model"]["quant"]) == ("tiny:mlc-q4f32_1", "q4f32_1")
    assert told["quantized"]["tensors"][0]["type"] == "uint32"
    assert manifest_of(store, "tiny:mlc-q4f32_1").format == "mlc"


def test_without_the_package_nothing_is_begun(shell: Shell, store: Store) -> None:
    """Not even the source is looked for."""
    told = shell("quantize", "no-org/no-repo", "--to", "mlc")
    assert "MLC LLM is not installed; get the wheels of the MLC project: https://llm.mlc.ai" in told.err
    assert told.code == shell("quantize", "./nowhere", "--to", "mlc").code != 0
    assert nothing_is_left(store)


@pytest.mark.usefixtures("fake_mlc")
def test_a_gguf_is_refused_by_name(shell: Shell, store: Store, tmp_path: Path) -> None:
    told = shell("quantize", str(write_tiny_model(tmp_path / "tiny.gguf")), "--to", "mlc")
    assert told.code != 0
    assert "MLC reads checkpoints, and" in told.err
    assert "tiny.gguf" in told.err
    assert nothing_is_left(store)


@pytest.mark.usefixtures("fake_mlc")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--type", "Q4_K_M"), "MLC has no quantization 'Q4_K_M' to be made here; there are q4f16_1"),
        (("--type", "auto"), "MLC has no quantization 'auto'"),
        (("--evaluate",), "--evaluate needs the logits of a model, which MLC keeps to itself"),
        (("--dry-run",), "--dry-run is for what can be told before it is made"),
        (("--delegate", "xnnpack"), "--delegate is for programs of ExecuTorch"),
        (("--prune-layers", "1"), "--prune-layers is for GGUF files"),
        (("--allow-requantize",), "--allow-requantize is for weights that are quantized already"),
        (("--device", "npu"), "MLC has no back end for NPUs"),
        (("--device", "cuda"), "MLC finds no cuda here; it finds cpu"),
        (("--device", "tpu"), "MLC knows no 'tpu'"),
    ],
)
def test_what_does_not_go_with_it(
    shell: Shell, store: Store, source: Path, options: tuple[str, ...], words: str
) -> None:
    told = shell("quantize", str(source), "--to", "mlc", *options)
    assert told.code != 0
    assert words in told.err
    assert nothing_is_left(store)


@pytest.mark.parametrize("to", ["gguf", "executorch"])
def test_a_device_is_for_mlc(shell: Shell, source: Path, to: str) -> None:
    if to == "executorch":
        pytest.importorskip("executorch")
    told = shell("quantize", str(source), "--to", to, "--device", "cuda")
    assert told.code != 0
    assert "--device is for models of MLC" in told.err


@pytest.mark.usefixtures("fake_mlc")
@pytest.mark.parametrize("command", ["convert_weight", "gen_config", "compile"])
def test_the_words_of_a_command_that_fails(
    shell: Shell, store: Store, source: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("FAKE_MLC_FAIL", command)
    told = shell("quantize", str(source), "--to", "mlc")
    assert told.code != 0
    assert "ValueError: Unknown model type: this one. Available ones: llama, qwen2" in told.err
    assert nothing_is_left(store)


@pytest.mark.usefixtures("fake_mlc")
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("command", ["convert_weight", "compile"])
def test_ctrl_c_leaves_nothing(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    pid = tmp_path / "pid"
    monkeypatch.setenv("FAKE_MLC_SLOW", command)
    monkeypatch.setenv("FAKE_MLC_PID", str(pid))
    arguments = [*LOCALLLM, "quantize", str(source), "--to", "mlc"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as shell:
        deadline = time.monotonic() + 100
        while not (pid.exists() and pid.read_text("utf-8")):
            assert shell.poll() is None, shell.communicate()[1]
            assert time.monotonic() < deadline, "nothing came"
            time.sleep(0.02)
        works = psutil.Process(int(pid.read_text("utf-8")))
        shell.send_signal(signal.SIGINT)
        _, said = shell.communicate(timeout=60)
    assert shell.returncode == 130
    assert said.splitlines()[-1] == "Interrupted. Nothing was kept."
    psutil.wait_procs([works], timeout=30)
    assert not works.is_running()
    assert nothing_is_left(store)
