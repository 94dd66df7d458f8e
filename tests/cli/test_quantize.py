"""`localllm quantize` through the shell: from a checkpoint to a model that runs, is measured, and can be made again."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from msgspec import structs

from localllm.cli import quantizing
from localllm.models.gguf.facts import facts_of
from localllm.models.gguf.header import read_header
from localllm.models.manifest import Manifest
from localllm.models.storage.store import Store
from localllm.quantize import measuring
from localllm.quantize.process.workbench import Workbench
from localllm.quantize.provenance.card import read_made_file
from localllm.quantize.provenance.keeping import native_tools
from localllm.quantize.provenance.recipe import MadeFormat, Tools
from tests.cli.blobs import damage
from tests.cli.shell import Shell, Told
from tests.convert.checkpoints import write_checkpoint
from tests.models.hub import Hub
from tests.models.hub_contents import sha256
from tests.quantize.matrices import write_matrix
from tests.tiny import write_tiny_model

FEW = ("--calibration-chunks", "2", "--threads", "1")
TEXT = "The quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture
def checkpoint(shell: Shell, tmp_path: Path) -> Path:
    """A checkpoint in the user's home."""
    return write_checkpoint(tmp_path / "tiny")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A text in the user's home."""
    path = tmp_path / "notes.txt"
    path.write_text(TEXT, "utf-8")
    return path


def manifest_of(store: Store, name: str) -> Manifest:
    manifest = store.find(name)
    assert manifest is not None
    return manifest


def file_of(store: Store, name: str, ending: str) -> Path:
    """Where a stored model's one file with this ending is."""
    (file,) = [file for file in manifest_of(store, name).files if file.filename.endswith(ending)]
    return store.path(file)


def stages(told: Told) -> list[str]:
    """What was said to be under way."""
    return [line.removesuffix(" …") for line in told.err.splitlines() if line.endswith(" …")]


def tensor_types(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type_name for tensor in read_header(path).tensors}


def nothing_is_left(store: Store) -> bool:
    """Whether there is neither a model, nor a blob, nor anything on the way to one."""
    parts = store.root / "parts"
    return store.survey().manifests == [] == list(store.blobs.digests()) and not any(parts.glob("*"))


def test_a_checkpoint_becomes_a_calibrated_model_and_the_same_again(
    shell: Shell, store: Store, checkpoint: Path, notes: Path
) -> None:
    told = shell.ok("quantize", str(checkpoint), "--type", "iq4_nl", "--calibrate", str(notes), *FEW)
    assert told.out == ""
    assert stages(told) == [
        "Converting",
        "Checking what IQ4_NL takes",
        "Calibrating",
        "Quantizing to IQ4_NL",
        "Asking for the build of llama.cpp",
    ]
    assert told.err.splitlines()[-1] == (
        "tiny:iq4_nl is here now: 77 kB, 5.21 bits per weight. In 1 of 21 tensors the rows do not fit the type, and a "
        'finer one was taken. Try it: localllm run --model tiny:iq4_nl "Hello"'
    )
    manifest = manifest_of(store, "tiny:iq4_nl")
    assert [file.filename for file in manifest.files] == ["tiny-iq4_nl.gguf", "tiny-iq4_nl.imatrix", "README.md"]
    assert list((store.root / "parts").iterdir()) == []
    card = file_of(store, "tiny:iq4_nl", "README.md").read_text("utf-8")
    assert str(checkpoint.parent) not in card
    assert "reference: ~/tiny\n" in card
    assert "of the text “notes.txt”" in card
    shown = shell.ok("show", "tiny:iq4_nl")
    assert ["from", "made", "here", "from", "~/tiny"] in shown.rows
    assert [row[:2] for row in shell.ok("list").rows[1:]] == [["tiny:iq4_nl", "IQ4_NL"]]

    shutil.move(checkpoint, checkpoint.with_name("moved"))
    notes.rename(notes.with_name("renamed.txt"))
    told = shell("quantize", "--from-card", "tiny:iq4_nl")
    assert (told.code, told.err) == (3, f"localllm: there is no file {checkpoint}\n")
    told = shell("quantize", "~/moved", "--from-card", "tiny:iq4_nl")
    assert (told.code, "name its file with --calibrate" in told.err) == (2, True)
    told = shell.ok("quantize", "~/moved", "--from-card", "tiny:iq4_nl", "--calibrate", "~/renamed.txt")
    assert told.err.splitlines()[-1] == "It is the same, bit for bit."
    again = manifest_of(store, "tiny:iq4_nl")
    assert [file.sha256 for file in again.weights] == [file.sha256 for file in manifest.weights]


@pytest.mark.slow
def test_a_dry_run_is_right_to_the_byte_and_makes_nothing(shell: Shell, store: Store, tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    told = shell.ok("quantize", str(path), "--type", "q8_0", "--dry-run")
    rows = told.rows
    assert rows[0] == ["TYPE", "SIZE", "BYTES", "BITS/WEIGHT", "FALLBACKS"]
    assert rows[1][0] == "Q8_0"
    assert told.err.splitlines()[-1] == "Nothing was made."
    assert nothing_is_left(store)
    shell.ok("quantize", str(path), "--type", "q8_0")
    assert rows[1][3] == str(file_of(store, "tiny:q8_0", ".gguf").stat().st_size)
    assert [file.filename for file in manifest_of(store, "tiny:q8_0").files] == ["tiny-q8_0.gguf", "README.md"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["./tiny", "--type", "Q4_KM"], 2, "there is no type Q4_KM; perhaps Q4_K_M"),
        (["./tiny", "--delegate", "vulkan"], 2, "--delegate is for programs of ExecuTorch; add --to executorch"),
        (["./tiny", "--name", "a b"], 2, "'a b' can be no model's name"),
        (["./tiny", "--name", "smollm2:135m"], 2, "smollm2:135m is the name of a known model"),
        (["./tiny", "--name", "echo:x"], 2, "'echo:x' would mean something else"),
        (["./tiny", "--calibrate", "nothing.txt"], 2, "cannot read the text nothing.txt"),
        (["./tiny", "--from-card", "tiny:q8_0", "--type", "Q8_0"], 2, "the card says it all; leave out --type"),
        (["./tiny", "--from-card", "tiny:q8_0", "--dry-run"], 2, "leave out --dry-run"),
        (["--from-card", "nothing.md"], 3, "there is no file nothing.md"),
        (["--from-card", "nothing:1m"], 3, "there is no model 'nothing:1m' on this disk"),
        (["--from-card", "tiny/README.md"], 1, "does not say how its model was made"),
        ([], 2, "name a source"),
        (["tiny"], 3, "what is called so in this folder is ./tiny"),
        (["./nothing"], 3, "there is no file"),
        (["echo:"], 2, "the echo engine has no weights"),
        (["./model.pte"], 5, "exported program, from which no other model is made; name its checkpoint"),
        (["./pickles"], 5, "pytorch_model.bin; such files can run code when they are read"),
        (["smollm2:135m"], 2, "name its checkpoint, localllm quantize HuggingFaceTB/SmolLM2-135M-Instruct, or one of"),
        (["smollm2:135m-q8_0"], 2, "smollm2:135m-q8_0 is quantized already (Q8_0)"),
        (["nothing:1m"], 3, "no model is called 'nothing:1m'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    shell: Shell,
    store: Store,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    Path("model.pte").write_bytes(b"    ET12")
    Path("pickles").mkdir()
    Path("pickles/config.json").write_text("{}", "utf-8")
    Path("pickles/pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n", "utf-8")
    told = shell("quantize", *arguments)
    assert (told.code, told.out, len(told.err.splitlines())) == (code, "", 1)
    assert words in told.err
    assert stages(told) == []
    assert nothing_is_left(store)


@pytest.mark.slow
def test_what_is_quantized_already_is_refused_by_the_name_that_it_has(
    shell: Shell, store: Store, tmp_path: Path
) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    shell.ok("quantize", str(path), "--type", "q8_0", "--name", "mine:v1")
    for reference in ("mine:v1", "mine"):
        told = shell("quantize", reference, "--type", "q4_0", "--calibrate", "none")
        assert (told.code, stages(told)) == (2, [])
        assert "mine:v1 is quantized already (Q8_0); name the original weights, or add --allow-requantize" in told.err
    copy = shutil.copyfile(file_of(store, "mine:v1", ".gguf"), tmp_path / "copy.gguf")
    assert "~/copy.gguf is quantized already (Q8_0)" in shell("quantize", str(copy), "--calibrate", "none").err
    told = shell("quantize", "mine:v1", "--type", "q8_0", "--allow-requantize", "--name", "MINE:v1")
    assert (told.code, "MINE:v1 is what it would be made from" in told.err) == (2, True)


@pytest.mark.slow
def test_the_life_of_a_made_model(shell: Shell, store: Store, checkpoint: Path, notes: Path) -> None:
    shell.ok("quantize", str(checkpoint), "--type", "Q8_0")
    shell.ok("quantize", str(checkpoint), "--calibrate", str(notes), *FEW)
    first = manifest_of(store, "tiny:q4_k_m")
    assert shell.ok("run", "--model", "tiny:q4_k_m", "--max-tokens", "3", "Hello").code == 0
    assert [row[0] for row in shell.ok("list").rows] == ["NAME", "tiny:q4_k_m", "tiny:q8_0"]
    assert shell.ok("verify").out.splitlines() == ["tiny:q4_k_m: every file is right", "tiny:q8_0: every file is right"]
    assert "tiny:q8_0: follows nothing: it is made here from ~/tiny" in shell.ok("update").out

    shell.ok("quantize", str(checkpoint), "--calibrate", "none")
    second = manifest_of(store, "tiny:q4_k_m")
    assert store.require("tiny:q4_k_m").trail == (first.version, second.version)
    shell.ok("rollback", "tiny:q4_k_m")
    assert manifest_of(store, "tiny:q4_k_m") == first
    assert shell.ok("run", "--model", "tiny:q4_k_m", "--max-tokens", "3", "Hello").code == 0

    damage(store, file_of(store, "tiny:q8_0", ".gguf").read_bytes())
    told = shell("verify", "tiny:q8_0")
    assert (told.code, "Mend with: localllm repair tiny:q8_0" in told.err) == (4, True)
    told = shell("repair", "tiny:q8_0")
    assert told.code == 5
    way = "localllm quantize --from-card tiny:q8_0"
    assert f"tiny:q8_0 was made here from ~/tiny and cannot be fetched; make it again: {way}" in told.err
    assert shell.ok(*way.split()[1:]).err.splitlines()[-1] == "It is the same, bit for bit."
    assert shell.ok("verify", "tiny:q8_0").out == "tiny:q8_0: every file is right\n"

    for name in ("tiny:q8_0", "tiny:q4_k_m"):
        shell.ok("rm", name)
    assert shell.ok("gc").err == "There is nothing to remove.\n"
    assert nothing_is_left(store)


@pytest.mark.slow
def test_every_choice_is_made_and_repeated(shell: Shell, store: Store, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["--keep-output", "f16", "--embedding", "q8_0", "--override", r"ffn_down=q5_1"]
    arguments += ["--prune-layers", "1", "--calibrate", "none", "--name", "mine"]
    (plan,) = shell.ok("quantize", str(checkpoint), "--type", "q4_0", "--dry-run", "--json", *arguments).json.values()
    told = shell.ok("quantize", str(checkpoint), "--type", "q4_0", "--json", *arguments).json
    assert told["quantized"] == plan
    path = file_of(store, "mine:q4_0", ".gguf")
    assert path.stat().st_size == plan["size_bytes"]
    types = tensor_types(path)
    assert (types["output.weight"], types["token_embd.weight"]) == ("F16", "Q8_0")
    assert (types["blk.0.ffn_down.weight"], types["blk.0.ffn_up.weight"]) == ("Q5_1", "Q4_0")
    assert facts_of([read_header(path)]).layers == 1
    card = shutil.copyfile(file_of(store, "mine:q4_0", "README.md"), tmp_path / "README.md")
    shell.ok("rm", "mine:q4_0")
    again = shell.ok("quantize", "--from-card", str(card), "--json").json
    assert again["is_same"] is True
    assert again["model"]["name"] == "tiny:q4_0"  # the card does not say what the user called it
    assert again["model"]["files"][0]["sha256"] == told["model"]["files"][0]["sha256"]
    assert shell.ok("run", "--model", "tiny:q4_0", "--max-tokens", "3", "Hello").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("type_", ["F32", "BF16", "F16"])
def test_a_checkpoint_is_only_converted(shell: Shell, store: Store, checkpoint: Path, type_: str) -> None:
    told = shell.ok("quantize", str(checkpoint), "--type", type_)
    name = f"tiny:{type_.lower()}"
    assert stages(told) == ["Converting", "Asking for the build of llama.cpp"]
    assert set(tensor_types(file_of(store, name, ".gguf")).values()) == {"F32", type_}
    made = read_made_file(file_of(store, name, "README.md"))
    assert made.recipe.converted_type == type_
    assert sum(made.outcome.tensor_types.values()) == 21
    assert shell.ok("quantize", "--from-card", name).err.splitlines()[-1] == "It is the same, bit for bit."


@pytest.mark.slow
def test_a_matrix_that_was_made_before(shell: Shell, store: Store, tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    matrix, foreign = write_matrix(tmp_path / "own.imatrix"), write_matrix(tmp_path / "foreign.imatrix", width=2)
    told = shell.ok("quantize", str(path), "--type", "iq4_nl", "--calibrate", str(matrix))
    assert "Calibrating" not in stages(told)
    assert file_of(store, "tiny:iq4_nl", ".imatrix").read_bytes() == matrix.read_bytes()
    told = shell("quantize", "--from-card", "tiny:iq4_nl")
    assert (told.code, "name its file with --calibrate" in told.err) == (2, True)
    told = shell.ok("quantize", "--from-card", "tiny:iq4_nl", "--calibrate", str(matrix))
    assert told.err.splitlines()[-1] == "It is the same, bit for bit."
    told = shell("quantize", str(path), "--type", "iq4_nl", "--calibrate", str(foreign))
    assert (told.code, "the importance matrix is of another model" in told.err) == (2, True)
    told = shell("quantize", str(path), "--type", "iq4_nl", "--calibrate", str(path))
    assert (told.code, "no importance matrix" in told.err, stages(told)) == (5, True, [])


@pytest.mark.slow
def test_a_card_whose_source_or_tools_are_others(
    shell: Shell, store: Store, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.ok("quantize", str(checkpoint), "--type", "q8_0")
    made = read_made_file(file_of(store, "tiny:q8_0", "README.md"))

    def other(bench: Workbench, format_: MadeFormat) -> Tools:
        return structs.replace(native_tools(bench, format_), numpy="9.9")

    monkeypatch.setattr(quantizing, "native_tools", other)
    told = shell.ok("quantize", "--from-card", "tiny:q8_0", "--json").json
    assert (told["is_same"], told["differences"]) == (True, [f"numpy: {made.tools.numpy} then, 9.9 now"])
    assert shell.ok("quantize", "--from-card", "tiny:q8_0").err.splitlines()[-1] == "It is the same, bit for bit."

    card = file_of(store, "tiny:q8_0", "README.md").read_text("utf-8")
    (weights,) = [file.sha256 for file in manifest_of(store, "tiny:q8_0").weights]
    edited = checkpoint.parent / "README.md"
    edited.write_text(card.replace(weights, "a" * 64), "utf-8")
    told = shell.ok("quantize", "--from-card", str(edited))
    words = f"It is not the same, because other tools made it: numpy: {made.tools.numpy} then, 9.9 now."
    assert told.err.splitlines()[-1] == words
    monkeypatch.undo()
    monkeypatch.setenv("LOCALLLM_HOME", str(store.root.parent))
    monkeypatch.setenv("LOCALLLM_CONFIG", str(store.root.parent / "config.toml"))
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    told = shell("quantize", "--from-card", str(edited))
    assert (told.code, "came out otherwise; nothing was kept" in told.err) == (4, True)

    config = checkpoint / "config.json"
    config.write_text(config.read_text("utf-8").replace("10000.0", "10001.0"), "utf-8")
    told = shell("quantize", "--from-card", "tiny:q8_0")
    assert (told.code, stages(told)) == (4, [])
    assert "config.json of ~/tiny has another SHA-256" in told.err


@pytest.mark.slow
def test_before_and_after_are_measured(shell: Shell, store: Store, checkpoint: Path, notes: Path, hasty: None) -> None:
    arguments = ["--type", "q8_0", "--evaluate", "--threads", "1", "--evaluation-chunks", "2", "--text", str(notes)]
    told = shell.ok("quantize", str(checkpoint), *arguments)
    rows = {" ".join(row[:2]): row for row in told.rows}
    assert {"size 223", "bits per", "divergence, mean", "reading, tokens/s"} <= rows.keys()
    assert "tokens of the text notes.txt" in told.out
    made = read_made_file(file_of(store, "tiny:q8_0", "README.md"))
    assert made.evaluation is not None
    assert made.evaluation.after.divergence is not None
    assert 0 < made.evaluation.after.divergence.mean < 0.1
    assert made.evaluation.before.divergence is None
    printed = shell.ok("quantize", "--from-card", "tiny:q8_0", "--json").json
    assert printed["evaluation"]["text"]["name"] == "notes.txt"  # it is the same model, so this is true of it
    report = shell.ok("quantize", str(checkpoint), *arguments, "--json").json
    assert report.keys() == {"model", "quantized", "evaluation"}
    assert report["evaluation"]["after"]["size_bytes"] == report["quantized"]["size_bytes"]
    short = notes.with_name("short.txt")
    short.write_text("hello", "utf-8")
    told = shell("quantize", str(checkpoint), *arguments[:-1], str(short))
    assert (told.code, "Quantizing to Q8_0" in stages(told)) == (2, False)  # known before the long work
    assert told.err.splitlines()[-1].startswith("localllm: short.txt has fewer than 512 tokens")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two types to try, timed once: each takes seconds."""
    monkeypatch.setattr(quantizing, "AUTO_TYPES", ("Q8_0", "Q4_0"))
    monkeypatch.setattr(measuring, "ROUNDS", 1)
    monkeypatch.setattr(measuring, "REPEATS", 1)


@pytest.mark.slow
def test_the_type_that_suits_is_kept_if_the_user_agrees(
    shell: Shell, store: Store, checkpoint: Path, notes: Path, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [*FEW, "--evaluation-chunks", "2", "--calibrate", str(notes)]
    report: dict[str, Any] = shell.ok("quantize", str(checkpoint), "--type", "auto", "--json", *few).json
    assert report.keys() == {"advice", "left_out", "evaluations"}
    assert report["evaluations"].keys() == {"Q8_0", "Q4_0"}
    assert nothing_is_left(store)  # nobody agreed
    told = shell.ok("quantize", str(checkpoint), "--type", "auto", *few)
    best = report["advice"]["type"]
    assert best == "Q8_0"  # the other one is far from the source
    assert ["*", best] in [row[:2] for row in told.rows]
    last = told.err.splitlines()[-1]
    assert last == f"Nothing was kept. To make it, give the same command with --type {best}."
    assert nothing_is_left(store)

    told = shell.ok("quantize", str(checkpoint), "--type", "auto", "--yes", *few)
    assert told.err.splitlines()[-1].startswith(f"tiny:{best.lower()} is here now")
    assert [manifest.name for manifest in store.survey().manifests] == [f"tiny:{best.lower()}"]
    made = read_made_file(file_of(store, f"tiny:{best.lower()}", "README.md"))
    assert made.recipe.calibration is not None
    assert made.evaluation is not None

    asked: list[str] = []

    def agree(text: str, **_: object) -> bool:
        asked.append(text)
        return True

    monkeypatch.setattr(typer, "confirm", agree)
    monkeypatch.setattr(quantizing, "stderr", _Terminal())
    assert "Nothing was kept." in shell.ok("quantize", str(checkpoint), "--type", "auto", *few).err  # nobody is there
    monkeypatch.setattr(sys, "stdin", _Terminal())
    kept = shell.ok("quantize", str(checkpoint), "--type", "auto", "--name", "mine", *few)
    assert asked == [f"Keep {best} as mine:{best.lower()}?"]
    assert f"mine:{best.lower()} is here now" in kept.err


class _Terminal:
    is_terminal = True

    def isatty(self) -> bool:
        return True


@pytest.mark.slow
def test_a_name_that_is_taken_is_told_before_the_work(shell: Shell, checkpoint: Path, tmp_path: Path) -> None:
    shell.ok("import", str(write_tiny_model(tmp_path / "other.gguf")), "--name", "tiny:q4_0")
    for type_ in ("q4_0", "auto"):
        told = shell("quantize", str(checkpoint), "--type", type_)
        assert (told.code, stages(told)) == (2, [])
        assert "there is a tiny:q4_0 that was not made here; choose another name with --name" in told.err
    told = shell("import", str(tmp_path / "other.gguf"), "--name", "mine:q8_0")
    shell.ok("quantize", str(checkpoint), "--type", "q8_0")
    told = shell("import", str(tmp_path / "other.gguf"), "--name", "tiny:q8_0")
    assert (told.code, "there is a tiny:q8_0 that was made here" in told.err) == (2, True)


@pytest.mark.slow
def test_sources_of_the_store_have_no_names_on_disk(shell: Shell, store: Store, checkpoint: Path) -> None:
    write_tiny_model(checkpoint.parent / "split.gguf", tensors_each=8)
    shell.ok("import", str(checkpoint))
    shell.ok("import", str(checkpoint.parent / "split-00001-of-00003.gguf"))
    shell.ok("import", "--link", str(checkpoint), "--name", "linked")
    few = ["--calibrate", "default", *FEW]
    for source, name in (("tiny", "tiny:q4_0"), ("split:f32", "split:q4_0"), ("linked:safetensors", "linked:q4_0")):
        shell.ok("quantize", source, "--type", "q4_0", *few)
        card = read_made_file(file_of(store, name, "README.md"))
        assert card.source.reference in {"tiny:safetensors", "split:f32", "linked:safetensors"}
        assert shell.ok("quantize", "--from-card", name).err.splitlines()[-1] == "It is the same, bit for bit."
    assert shell.ok("run", "--model", "split:q4_0", "--max-tokens", "3", "Hello").code == 0
    told = shell("quantize", "split:f32", "--override", "nothing=q8_0")
    assert (told.code, "sha256-" in told.err, "nothing" in told.err) == (2, False, True)
    store.path(manifest_of(store, "split:f32").files[1]).unlink()
    told = shell("quantize", "split:f32", "--type", "q8_0")
    assert (told.code, stages(told)) == (5, [])
    assert "localllm repair split:f32" in told.err


REPOSITORY = "some-org/Tiny"


def hub_files(checkpoint: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


@pytest.mark.slow
def test_of_a_repository_the_checkpoint_is_taken(
    online: Shell, hub: Hub, store: Store, tmp_path: Path, models: list[bytes]
) -> None:
    files = hub_files(write_checkpoint(tmp_path / "tiny"))
    commit = hub.commit(REPOSITORY, files | {"tiny.Q8_0.gguf": models[0]}, card={"license": "mit"})
    told = online.ok("quantize", REPOSITORY, "--type", "q4_0", "--calibrate", "none")
    assert f"Got {REPOSITORY}:safetensors (" in told.err
    assert "no engine here runs" not in told.err
    name = f"{REPOSITORY}:Q4_0"
    made = read_made_file(file_of(store, name, "README.md"))
    assert (made.source.reference, made.source.revision) == (f"{REPOSITORY}:safetensors", commit)
    assert (made.source.license, made.source.base_model) == ("mit", REPOSITORY)
    assert "base_model: some-org/Tiny\n" in file_of(store, name, "README.md").read_text("utf-8")
    hub.log.clear()
    online.ok("quantize", REPOSITORY, "--type", "q8_0", "--offline")  # it is here, beside what was made from it
    online.ok("quantize", f"{REPOSITORY}:safetensors", "--type", "q5_1", "--calibrate", "none")
    online.ok("quantize", "--from-card", name)
    assert hub.log == []

    changed = files | {"config.json": files["config.json"].replace(b"10000.0", b"10001.0")}
    hub.commit(REPOSITORY, changed)
    online.ok("update", f"{REPOSITORY}:safetensors")
    told = online.ok("quantize", "--from-card", name)  # from the commit that it was made from
    assert told.err.splitlines()[-1] == "It is the same, bit for bit."
    online.ok("rm", f"{REPOSITORY}:safetensors")
    assert online.ok("quantize", "--from-card", name).err.splitlines()[-1] == "It is the same, bit for bit."


@pytest.mark.slow
def test_quantized_files_of_a_repository_only_on_demand(
    online: Shell, hub: Hub, store: Store, tmp_path: Path, models: list[bytes]
) -> None:
    q8 = tmp_path / "tiny.gguf"
    q8.write_bytes(models[0])
    online.ok("quantize", str(q8), "--type", "q8_0")
    data = file_of(store, "tiny:q8_0", ".gguf").read_bytes()
    hub.commit(REPOSITORY, {"tiny.Q8_0.gguf": data, "tiny.Q4_0.gguf": models[1]})
    for reference in (f"{REPOSITORY}:Q8_0", REPOSITORY):
        told = online("quantize", reference, "--type", "q4_0", "--calibrate", "none")
        assert (told.code, stages(told)) == (2, [])
        assert f"{REPOSITORY}:Q8_0 is quantized already (Q8_0)" in told.err
    assert hub.gets() == []
    told = online.ok("quantize", f"{REPOSITORY}:Q8_0", "--type", "q4_0", "--calibrate", "none", "--allow-requantize")
    assert set(tensor_types(file_of(store, f"{REPOSITORY}:Q4_0", ".gguf")).values()) == {"F32", "Q4_0", "Q8_0"}
    hub.commit(REPOSITORY, {"tiny.Q8_0.gguf": data, "tiny.F16.gguf": models[2]})
    told = online.ok("quantize", REPOSITORY, "--type", "q5_0", "--calibrate", "none")
    assert f"Got {REPOSITORY}:F16" in told.err
    told = online("quantize", "some-org/Nothing")
    assert (told.code, len(told.err.splitlines())) == (3, 1)


@pytest.mark.slow
def test_offline_no_connection_is_made(online: Shell, hub: Hub, store: Store, tmp_path: Path) -> None:
    hub.commit(REPOSITORY, hub_files(write_checkpoint(tmp_path / "tiny")))
    told = online("quantize", REPOSITORY, "--offline")
    assert (told.code, hub.log) == (4, [])
    assert nothing_is_left(store)
    hub.commit("some-org/Old", {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04K\x01."})
    told = online("quantize", "some-org/Old")
    assert (told.code, nothing_is_left(store)) == (3, True)


@pytest.mark.slow
def test_what_is_printed_for_scripts_is_json_and_nothing_else(shell: Shell, tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    told = shell.ok("quantize", str(path), "--type", "q4_0", "--calibrate", "none", "--dry-run", "--json")
    (plan,) = json.loads(told.out).values()
    assert plan["size_bytes"] > plan["weights_bytes"] > 0
    assert sum(1 for tensor in plan["tensors"] if tensor["type"] == "Q4_0") > 0
    assert sha256(path.read_bytes()) == sha256(write_tiny_model(tmp_path / "same.gguf").read_bytes())
