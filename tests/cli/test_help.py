"""The command line itself: help, version, and how little is loaded for them."""

import subprocess
import sys

import pytest

from localllm import __version__
from tests.processes import localllm

VERBS = ("run", "chat", "serve", "list", "pull", "rm", "bench")
HEAVY = ("llama_cpp", "numpy", "textual", "starlette", "uvicorn", "httpx2", "huggingface_hub", "jinja2")


def loaded(code: str) -> set[str]:
    """The heavy modules that a program has loaded at its end."""
    program = f"import sys\n{code}\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(found.stdout.split())


def test_the_version() -> None:
    result = localllm("--version")
    assert (result.returncode, result.stdout) == (0, f"localllm {__version__}\n")


def test_help_names_every_verb_and_shows_examples() -> None:
    result = localllm("--help")
    assert result.returncode == 0
    assert all(f"  {verb} " in result.stdout for verb in VERBS)
    assert 'localllm run "What is the capital of France?"' in result.stdout


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.slow
def test_every_verb_explains_itself_with_examples(verb: str) -> None:
    result = localllm(verb, "--help")
    assert result.returncode == 0
    assert "Examples:" in result.stdout
    assert f"  localllm {verb}" in result.stdout


def test_an_unknown_verb_is_a_usage_error() -> None:
    result = localllm("dance")
    assert result.returncode == 2
    assert "dance" in result.stderr


def test_the_command_line_loads_nothing_heavy() -> None:
    assert loaded("import localllm.cli.app") == set()


def test_the_server_loads_neither_the_native_library_nor_the_terminal_app() -> None:
    assert loaded("import localllm.api.app, localllm.api.server, localllm.cli.compose") <= {"starlette", "uvicorn"}


def test_the_worker_loads_no_server_and_no_terminal_app() -> None:
    assert loaded("import localllm.worker.child, localllm.engines.llama_cpp.runner") <= {"llama_cpp", "numpy", "jinja2"}
