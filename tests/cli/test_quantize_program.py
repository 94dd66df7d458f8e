"""`localllm quantize --to executorch` through the shell: from a GGUF or a checkpoint to a program that answers."""

import re
from pathlib import Path

import msgspec
import pytest

from localllm.models.gguf.header import read_header
from localllm.models.manifest import Manifest
from localllm.models.storage.store import Store
from localllm.quantize.provenance.card import read_made_file
from localllm.quantize.provenance.recipe import Program
from tests.cli.shell import Shell
from tests.cli.test_quantize import file_of, manifest_of, nothing_is_left, stages
from tests.convert.checkpoints import write_checkpoint
from tests.tiny import write_tiny_model

pytest.importorskip("executorch", reason='programs are made with the extra: pip install "localllm[executorch]"')

TO_PROGRAM = ("--to", "executorch", "--context", "256", "--threads", "1")
TEXT = "The quick brown fox jumps over the lazy dog. " * 60


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gguf_becomes_a_program_that_answers_is_measured_and_made_again(
    shell: Shell, store: Store, tmp_path: Path
) -> None:
    source = write_tiny_model(tmp_path / "tiny.gguf")
    notes = tmp_path / "notes.txt"
    notes.write_text(TEXT, "utf-8")
    told = shell.ok(
        "quantize", str(source), *TO_PROGRAM, "--evaluate", "--text", str(notes), "--evaluation-chunks", "1"
    )  # fmt: skip
    assert "of memory" in told.err.splitlines()[0]
    assert any(stage.startswith("Exporting: ") for stage in stages(told))
    assert "localllm run --model tiny:pte" in told.err
    assert re.search(r"Exporting took (\d+ min )?\d+ s and \d+ MB of memory; \d+ of \d+ operations", told.err)

    manifest = manifest_of(store, "tiny:pte")
    assert (manifest.format, manifest.quant) == ("pte", "8da4w")
    assert [file.filename for file in manifest.files] == [
        "tiny-pte.pte",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "README.md",
    ]
    made = read_made_file(file_of(store, "tiny:pte", "README.md"))
    assert made.recipe.program == Program(delegate="xnnpack", context_tokens=256)
    assert made.outcome.parameters == sum(tensor.elements for tensor in read_header(source).tensors)
    assert set(made.outcome.tensor_types) == {"int4", "int8", "fp32"}
    assert made.tools.executorch.startswith("1.5.")
    assert made.evaluation is not None
    assert made.evaluation.after.divergence is not None
    assert 0 < made.evaluation.after.divergence.mean < 3  # of random weights
    assert made.evaluation.after.rates is not None
    card = shell.ok("show", "tiny:pte", "--card").out
    assert "Exported to a program of ExecuTorch for xnnpack, 8da4w" in card
    assert "same first choice" in card

    answer = shell.ok("run", "--model", "tiny:pte", "--max-tokens", "8", "--temperature", "0", "Hello")
    assert answer.out
    assert shell.ok("run", "--model", "tiny:pte", "--max-tokens", "8", "--temperature", "0", "Hello").out == answer.out

    told = shell.ok("quantize", "--from-card", "tiny:pte", "--name", "tiny:again")
    assert told.err.splitlines()[-1] == "It is the same, bit for bit."
    again = manifest_of(store, "tiny:again")
    assert [file.sha256 for file in again.files[:-1]] == [file.sha256 for file in manifest.files[:-1]]

    told = shell("quantize", "tiny:pte", "--to", "executorch", "--allow-requantize")
    assert (told.code, "exported program, from which no other model is made" in told.err) == (5, True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_checkpoint_keeps_its_own_tokenizer(shell: Shell, store: Store, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny")
    told = shell.ok("quantize", str(folder), *TO_PROGRAM, "--type", "fp32", "--name", "mine:pte", "--json")
    assert told.json["quantized"]["size_bytes"] == file_of(store, "mine:pte", ".pte").stat().st_size
    assert msgspec.convert(told.json["model"], Manifest) == manifest_of(store, "mine:pte")
    assert file_of(store, "mine:pte", "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert set(told.json["exported"]["seconds"]) == {"reading weights", "rounding", "tracing", "lowering", "writing"}
    assert told.json["exported"]["delegated"] > told.json["exported"]["undelegated"] > 0
    assert {tensor["type"] for tensor in told.json["quantized"]["tensors"]} == {"fp32"}


def test_a_dry_run_says_what_it_takes_and_makes_nothing(shell: Shell, store: Store, tmp_path: Path) -> None:
    source = write_tiny_model(tmp_path / "tiny.gguf")
    told = shell.ok("quantize", str(source), *TO_PROGRAM, "--dry-run")
    assert "8da4w with a context of 256 tokens can be exported; that takes about" in told.err
    plan = shell.ok("quantize", str(source), *TO_PROGRAM, "--dry-run", "--json").json
    assert (plan["type"], plan["context_tokens"], plan["needed_bytes"] > 2**28) == ("8da4w", 256, True)
    assert nothing_is_left(store)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--context", "100000"], 2, "1024"),
        (["--type", "auto"], 2, "auto measures types of GGUF files"),
        (["--type", "q4_k_m"], 2, "there are 8da4w, 8da8w, fp32"),
        (["--delegate", "nothing"], 2, "xnnpack"),
        (["--calibrate", "default"], 2, "--calibrate is for GGUF files"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    shell: Shell, store: Store, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    source = write_tiny_model(tmp_path / "tiny.gguf")
    told = shell("quantize", str(source), "--to", "executorch", *arguments)
    assert (told.code, told.out) == (code, "")
    assert words in told.err.splitlines()[-1]
    assert not any(stage.startswith("Exporting") for stage in stages(told))
    assert nothing_is_left(store)


def test_without_memory_nothing_is_begun(
    shell: Shell, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localllm.quantize.programs.available_memory_bytes", lambda: 2**20)
    told = shell("quantize", str(write_tiny_model(tmp_path / "tiny.gguf")), *TO_PROGRAM)
    assert told.code == 6
    assert "close other programs, take a shorter --context" in told.err
    assert nothing_is_left(store)
