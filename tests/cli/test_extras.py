"""Packages that are not there: what is said, who is asked, and what is not imported."""

import io
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from localllm.cli import extras
from localllm.cli.compose import bring
from localllm.cli.extras import missing_words, require_extra
from localllm.config import Settings
from localllm.errors import EngineUnavailable
from tests.cli.shell import Shell
from tests.models.hub import Hub
from tests.models.pte.programs import TOKENIZER, program
from tests.models.repositories import EXPORTED, NAME

CHECKOUT = "ExecuTorch is not installed; install it (about 1.2 GB): scripts/setup executorch"
PIP = 'ExecuTorch is not installed; install it: pip install "localllm[executorch]"'


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


class Machine:
    """Which packages there are, and what setting up brings."""

    def __init__(self) -> None:
        self.packages = {"numpy"}
        self.brings = {"executorch", "tokenizers", "torch"}
        self.code = 0
        self.runs: list[list[str]] = []

    def version(self, package: str) -> str:
        if package not in self.packages:
            raise PackageNotFoundError(package)
        return "1.0"

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        self.runs.append(command)
        self.packages |= self.brings
        return subprocess.CompletedProcess(command, self.code)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A checkout without extras; nobody is at the terminal."""
    machine = Machine()
    monkeypatch.setattr(extras, "version", machine.version)
    monkeypatch.setattr(subprocess, "run", machine.run)
    monkeypatch.setattr(extras, "_setup_program", lambda: Path("scripts/setup"))
    return machine


def type_in(answer: str, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def refusal(*, offline: bool = False) -> str:
    with pytest.raises(EngineUnavailable) as caught:
        require_extra("executorch", offline=offline)
    return caught.value.message


def test_what_is_there_is_not_asked_for(machine: Machine) -> None:
    machine.packages = {"executorch", "tokenizers", "torch"}
    require_extra("executorch")
    assert missing_words("executorch") == ""
    assert machine.runs == []


def test_without_anybody_to_ask_it_says_what_to_do(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal() == CHECKOUT
    monkeypatch.setattr(extras, "_setup_program", lambda: None)
    type_in("y\n", monkeypatch)
    assert refusal() == PIP
    assert machine.runs == []


def test_what_is_missing_of_it_is_named(machine: Machine) -> None:
    machine.packages = {"executorch", "tokenizers"}
    assert refusal().startswith("ExecuTorch is not installed (torch missing); ")


@pytest.mark.parametrize("answer", ["y\n", "Yes\n"])
def test_who_wants_it_gets_it_and_goes_on(machine: Machine, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    screen = type_in(answer, monkeypatch)
    require_extra("executorch")
    assert machine.runs == [[str(Path("scripts/setup")), "executorch"]]
    assert screen.getvalue().startswith("ExecuTorch is not installed (about 1.2 GB). Install it now? [y/N] ")


@pytest.mark.parametrize("answer", ["\n", "n\n", "", "what?\n"])
def test_who_does_not_is_told_how(machine: Machine, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    type_in(answer, monkeypatch)
    assert refusal() == CHECKOUT
    assert machine.runs == []


def test_offline_nobody_is_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = type_in("y\n", monkeypatch)
    assert refusal(offline=True) == CHECKOUT
    assert (machine.runs, screen.getvalue()) == ([], "")


def test_an_installation_that_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in("y\n", monkeypatch)
    machine.code = 1
    assert refusal() == "ExecuTorch was not installed; what went wrong stands above"
    machine.packages, machine.brings, machine.code = set(), {"executorch"}, 0
    type_in("y\n", monkeypatch)
    assert refusal().startswith("ExecuTorch is not installed (tokenizers, torch missing); ")


def test_a_program_that_cannot_be_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    type_in("y\n", monkeypatch)
    monkeypatch.setattr(subprocess, "run", run)
    assert "Permission denied; run it yourself" in refusal()


@pytest.mark.parametrize("verb", [("run", "hello"), ("chat",), ("bench",)])
def test_no_verb_gets_far_without_it(machine: Machine, shell: Shell, tmp_path: Path, verb: tuple[str, ...]) -> None:
    (tmp_path / "x.pte").write_bytes(program())
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    told = shell(verb[0], "--model", str(tmp_path / "x.pte"), *verb[1:])
    assert (told.code, told.out, told.err) == (5, "", f"localllm: {CHECKOUT}\n")


def test_nothing_is_fetched_that_could_not_be_run(machine: Machine, online: Shell, hub: Hub) -> None:
    hub.commit(NAME, EXPORTED)
    told = online("run", "--model", f"{NAME}:pte", "hello")
    assert (told.code, told.err) == (5, f"localllm: {CHECKOUT}\n")
    assert hub.gets() == []
    told = online.ok("pull", f"{NAME}:pte")
    assert f"Warning: {NAME}:pte is a program of ExecuTorch, and {CHECKOUT}" in told.err


def test_another_model_does_not_need_it(machine: Machine, tiny_model: Path) -> None:
    assert bring(str(tiny_model), Settings()).engine == "llama_cpp"


@pytest.mark.skipif(not (Path(sys.prefix).parent / "scripts" / "setup").is_file(), reason="not in a checkout's .venv")
def test_this_checkout_has_a_program_that_sets_up() -> None:
    assert extras._setup_program() == Path(sys.prefix).resolve().parent / "scripts" / "setup"


def test_another_environment_is_not_set_up_by_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert extras._setup_program() is None
