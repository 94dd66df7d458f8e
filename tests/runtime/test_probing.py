"""Engines are looked at in processes of their own: what becomes of one costs its row alone."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from localllm.engines.back_ends import EngineReport
from localllm.errors import InvalidRequest
from localllm.runtime import probing
from localllm.runtime.probing import probe_engines

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and a shell")
PYTHON = sys.executable
GOOD = 'print(\'{"engine": "llama_cpp", "is_usable": true}\')'


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python program that runs in the place of the probes; its last argument is the engine."""
    script, program = tmp_path / "probe.sh", tmp_path / "probe.py"
    script.write_text(f"#!/bin/sh\nexec '{PYTHON}' '{program}' \"$@\"\n", "utf-8")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    return program


def test_the_probes_are_those_of_the_engines() -> None:
    (report,) = probe_engines(("llama_cpp",))
    assert (report.engine, report.is_usable) == ("llama_cpp", True)
    assert psutil.Process().children() == []


def test_a_name_that_is_none_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(subprocess, "Popen")
    with pytest.raises(InvalidRequest, match="there is no engine 'echo'"):
        probe_engines(("llama_cpp", "echo"))


@POSIX
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os; os.abort()", "its probe ended (signal 6)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its probe ended (signal 9)"),
        (
            "import os, sys; print('CUDA error 999\\n\\nat driver.cu', file=sys.stderr, flush=True); os.abort()",
            "its probe ended (signal 6); its last words: CUDA error 999 | at driver.cu",
        ),
        ("raise SystemExit(3)", "its probe ended (status 3)"),
        ("print('no JSON')", "its probe gave an answer that cannot be read: JSON is malformed"),
        ("pass", "its probe gave an answer that cannot be read: Input data was truncated"),
    ],
)
def test_a_probe_that_crashes_is_a_reason(stand_in: Path, body: str, words: str) -> None:
    program = f"import sys\nif sys.argv[-1] == 'executorch':\n    {body}\nelse:\n    {GOOD}\n"
    stand_in.write_text(program, "utf-8")
    good, bad = probe_engines()
    assert good == EngineReport(engine="llama_cpp", is_usable=True)
    assert (bad.engine, bad.is_usable, bad.back_ends) == ("executorch", False, ())
    assert bad.reason.startswith(words)
    assert "\n" not in bad.reason


@POSIX
def test_a_driver_that_hangs_is_not_waited_for(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.2)
    stand_in.write_text("import time; time.sleep(100)", "utf-8")
    reports = probe_engines()
    assert [report.reason for report in reports] == ["its drivers gave no answer within 0 seconds"] * 2
    assert psutil.Process().children() == []


@POSIX
def test_much_that_a_driver_says_stops_nothing(stand_in: Path) -> None:
    stand_in.write_text(f"import sys\nprint('x' * 10**6, file=sys.stderr)\n{GOOD}\n", "utf-8")
    assert probe_engines(("llama_cpp",)) == [EngineReport(engine="llama_cpp", is_usable=True)]


@POSIX
def test_probes_get_no_secrets_and_no_modules_of_the_folder(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    program = """
        import os, sys
        assert "HF_TOKEN" not in os.environ
        assert sys.argv[1:4] == ["-P", "-m", "localllm.engines.probe"], sys.argv
        assert sys.stdin.read() == ""
    """
    stand_in.write_text(textwrap.dedent(program) + GOOD, "utf-8")
    (report,) = probe_engines(("llama_cpp",))
    assert report.reason == ""


@POSIX
def test_ctrl_c_ends_the_probes(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    stand_in.write_text("import time; time.sleep(100)", "utf-8")
    monkeypatch.setattr(probing._Probe, "report", interrupt)
    with pytest.raises(KeyboardInterrupt):
        probe_engines()
    assert psutil.Process().children() == []
