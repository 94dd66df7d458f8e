"""The verbs that answer, over a real program of ExecuTorch; what is kept of programs is in test_programs.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.cli.blobs import damage
from tests.cli.shell import Shell
from tests.exports import (  # noqa: F401  # a fixture
    CONTEXT,
    PROGRAM,
    TOKENIZER,
    skip_without_executorch,
    tiny_program,
)
from tests.processes import localllm
from tests.tiny import LAYERS

skip_without_executorch()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first that needs the program may have to export it

VOCABULARY = 259
ANSWER = ("--temperature", "0", "--max-tokens", "8")


@pytest.fixture
def program(tiny_program: Path) -> str:  # noqa: F811
    return str(tiny_program / PROGRAM)


@pytest.fixture
def copied(tiny_program: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A folder to be changed."""
    return shutil.copytree(tiny_program, tmp_path / "copied")


def test_an_answer_and_what_it_took(shell: Shell, program: str) -> None:
    told = shell.ok("run", "--model", program, *ANSWER, "--json", "hello").json
    assert told["model"] == "tiny"
    assert told["text"]
    assert told["finish_reason"] in ("length", "stop")
    assert 0 < told["usage"]["completion_tokens"] <= 8
    again = shell.ok("run", "--model", program, *ANSWER, "--stats", "hello")
    assert again.out.rstrip("\n") == told["text"].rstrip("\n")
    assert f"{told['usage']['prompt_tokens']} prompt tokens" in again.err


def test_from_the_store_until_its_bytes_are_others(shell: Shell, store: Store, program: str) -> None:
    shell.ok("import", program, "--name", "mine")
    shell.ok("run", "--model", "mine:pte", *ANSWER, "hello")
    damage(store, Path(program).read_bytes())
    told = shell("run", "--model", "mine:pte", *ANSWER, "hello")
    assert (told.code, told.out, len(told.err.splitlines())) == (4, "", 1)
    assert "is damaged" in told.err
    assert "localllm repair" in told.err


def test_what_is_said_of_it_is_what_it_says(shell: Shell, program: str) -> None:
    sheet = shell.ok("show", program, "--json").json
    assert (sheet["context_tokens"], sheet["vocabulary"], sheet["layers"]) == (CONTEXT, VOCABULARY, LAYERS)
    assert (sheet["backends"], sheet["tokenizer"]) == (["XnnpackBackend"], TOKENIZER)
    plan = shell.ok("plan", program, "--json").json
    assert plan["forecast"]["fits"]


def test_it_is_measured_like_any_other(shell: Shell, program: str) -> None:
    few = ("--repeats", "1", "--prompt-tokens", "40", "--answer-tokens", "10")
    told = shell.ok("bench", "--model", program, "--json", *few).json
    assert told["model"] == "tiny"
    for name in ("load_seconds", "prefill_rate", "decode_rate", "peak_memory_bytes"):
        assert told[name] > 0


def test_a_context_that_it_has_not_is_refused(shell: Shell, program: str) -> None:
    told = shell("run", "--model", program, "--context", str(CONTEXT + 1), "hello")
    assert (told.code, told.out, len(told.err.splitlines())) == (5, "", 1)
    assert f"exported for a context of {CONTEXT} tokens" in told.err


def test_adapters_are_refused_by_name(program: str, tmp_path: Path) -> None:
    adapter = tmp_path / "pirate.gguf"
    adapter.write_bytes(b"GGUF")
    told = localllm("serve", "--model", program, "--port", "0", "--lora", f"pirate={adapter}")
    assert (told.returncode, len(told.stderr.splitlines())) == (5, 1)
    assert "LoRA adapters (pirate) do not fit a .pte program" in told.stderr


def test_the_tokenizer_of_another_model_is_refused(shell: Shell, copied: Path) -> None:
    tokenizer = json.loads((copied / TOKENIZER).read_text("utf-8"))
    tokenizer["model"]["vocab"] |= {f"<{i}>": VOCABULARY + i for i in range(100)}
    (copied / TOKENIZER).write_text(json.dumps(tokenizer), "utf-8")
    told = shell("run", "--model", str(copied / PROGRAM), "hello")
    assert (told.code, told.out, len(told.err.splitlines())) == (5, "", 1)
    assert f"{VOCABULARY + 100} tokens and the program knows {VOCABULARY}" in told.err


ASKING = """
import sys
from localllm.cli.app import main
try:
    main()
finally:
    print("imported", sorted({"torch", "executorch", "tokenizers", "llama_cpp"} & sys.modules.keys()))
"""


def test_nothing_native_comes_into_the_process_of_the_shell(program: str) -> None:
    command = [sys.executable, "-c", ASKING, "run", "--model", program, *ANSWER, "hello"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported []"
