"""The command line itself: help, version, and how little is loaded for them."""

import subprocess
import sys
from pathlib import Path

import pytest

from localllm import __version__
from tests.cli.shell import Shell
from tests.models.pte.programs import TOKENIZER, program
from tests.processes import localllm

TALK = ("run", "chat", "serve", "bench")
MODELS = (
    *("list", "show", "plan", "pull", "quantize", "rm", "cp", "alias", "import", "devices"),
    *("verify", "repair", "gc", "du", "update", "history", "rollback", "pin"),
)
EXTRA = {"torch", "executorch", "torchao", "tokenizers"}
HEAVY = ("llama_cpp", "numpy", "textual", "starlette", "uvicorn", "httpx2", "huggingface_hub", "jinja2", *EXTRA)


def loaded(code: str) -> set[str]:
    """The heavy modules that a program has loaded at its end."""
    program = f"import sys\n{code}\nprint('loaded', *(m for m in {HEAVY!r} if m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    word, *names = found.stdout.splitlines()[-1].split()
    assert word == "loaded"
    return set(names)


def said(*arguments: str) -> str:
    """A program that runs a verb to its end."""
    return f"""
import contextlib
from localllm.cli.app import main
sys.argv = ["localllm", *{arguments!r}]
with contextlib.suppress(SystemExit):
    main()
"""


def test_the_version() -> None:
    result = localllm("--version")
    assert (result.returncode, result.stdout) == (0, f"localllm {__version__}\n")


def test_help_names_every_verb_and_shows_examples(shell: Shell) -> None:
    told = shell.ok("--help")
    assert all(f"\n  {verb} " in told.out for verb in (*TALK, *MODELS))
    assert 'localllm run "What is the capital of France?"' in told.out
    lines = {line.split()[0]: line for line in told.out.splitlines() if line.strip()}
    assert [verb for verb in MODELS if lines[verb].endswith("...")] == []  # what a verb does fits its line


@pytest.mark.parametrize("verb", [*TALK, *MODELS])
def test_every_verb_explains_itself_with_examples(shell: Shell, verb: str) -> None:
    told = shell.ok(verb, "--help")
    assert "Examples:" in told.out
    assert f"  localllm {verb}" in told.out
    assert verb in TALK or "--json" in told.out


@pytest.mark.slow
def test_help_loads_nothing_heavy() -> None:
    assert loaded("".join(said(verb, "--help") for verb in MODELS)) == set()


def test_what_opens_no_model_file_loads_nothing_heavy() -> None:
    verbs = (["list"], ["list", "--all"], ["du"], ["gc"], ["alias"], ["rm", "nobody"], ["pull", "nobody"])
    assert loaded("".join(said(*verb) for verb in verbs)) == set()


def test_what_looks_at_a_program_loads_nothing_that_runs_it(tmp_path: Path) -> None:
    path = tmp_path / "x.pte"
    path.write_bytes(program())
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    verbs = (["show", str(path)], ["plan", str(path)], ["import", str(path)], ["run", "--model", "echo", "hello"])
    assert loaded("".join(said(*verb) for verb in verbs)) & EXTRA == set()


def test_an_unknown_verb_is_a_usage_error(shell: Shell) -> None:
    told = shell("dance")
    assert told.code == 2
    assert "dance" in told.err


@pytest.mark.slow
def test_the_command_line_loads_nothing_heavy() -> None:
    assert loaded("import localllm.cli.app") == set()


@pytest.mark.slow
def test_the_server_loads_neither_the_native_library_nor_the_terminal_app() -> None:
    assert loaded("import localllm.api.app, localllm.api.server, localllm.cli.compose") <= {"starlette", "uvicorn"}


@pytest.mark.slow
def test_the_worker_loads_no_server_and_no_terminal_app() -> None:
    assert loaded("import localllm.worker.child, localllm.engines.llama_cpp.runner") <= {"llama_cpp", "numpy", "jinja2"}
