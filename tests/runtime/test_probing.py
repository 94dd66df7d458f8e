"""Engines are looked at in processes of their own: what becomes of one costs its row alone."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from localllm.engines import registry
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


def probes() -> list[psutil.Process]:
    """Those that this process has started; others of its children are not of these tests."""
    return [child for child in psutil.Process().children() if any("probe" in word for word in child.cmdline())]


def test_the_probes_are_those_of_the_engines() -> None:
    (report,) = probe_engines(("llama_cpp",))
    assert (report.engine, report.is_usable) == ("llama_cpp", True)
    assert probes() == []


def test_a_name_that_is_none_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(subprocess, "Popen")
    with pytest.raises(InvalidRequest, match="there is no engine 'tpu'"):
        probe_engines(("llama_cpp", "tpu"))


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
        ("print('[' * 10**5)", "its probe gave an answer that cannot be read"),
        ("print('x' * 10**7)", "its probe gave an answer that cannot be read"),
        ('print(\'{"engine": 5, "is_usable": true}\')', "its probe gave an answer that cannot be read: Expected `str`"),
        ('print(\'{"engine": "mlc", "is_usable": true}\')', "its probe answered for another engine, 'mlc'"),
    ],
)
def test_a_probe_that_crashes_is_a_reason(stand_in: Path, body: str, words: str) -> None:
    program = f"import sys\nif sys.argv[-1] == 'executorch':\n    {body}\nelse:\n    {GOOD}\n"
    stand_in.write_text(program, "utf-8")
    good, bad = probe_engines(("llama_cpp", "executorch"))
    assert good == EngineReport(engine="llama_cpp", is_usable=True)
    assert (bad.engine, bad.is_usable, bad.back_ends) == ("executorch", False, ())
    assert bad.reason.startswith(words)
    assert "\n" not in bad.reason


@POSIX
def test_a_driver_that_hangs_is_not_waited_for(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.2)
    stand_in.write_text("import time; time.sleep(100)", "utf-8")
    reports = probe_engines(("llama_cpp", "executorch"))
    assert [report.reason for report in reports] == ["its drivers gave no answer within 0 seconds"] * 2
    assert probes() == []


@POSIX
def test_what_a_driver_has_started_ends_with_it(stand_in: Path, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    program = f"""
        import subprocess, sys
        child = subprocess.Popen([{PYTHON!r}, "-c", "import time; time.sleep(1000)"])
        open({str(told)!r}, "w").write(str(child.pid))
    """
    stand_in.write_text(textwrap.dedent(program) + GOOD, "utf-8")
    assert probe_engines(("llama_cpp",)) == [EngineReport(engine="llama_cpp", is_usable=True)]
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(told.read_text())).wait(10)  # raises TimeoutExpired where it lives on


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
        probe_engines(("llama_cpp", "executorch"))
    assert probes() == []


FOREIGN = """
import os, sys, time

class Kind:
    formats = frozenset({"foreign"})

    def __init__(self):
        self.name = type(self).__name__.lower()

    def load(self, plan, on_progress):
        raise NotImplementedError

class Crashing(Kind):
    def report(self):
        os.kill(os.getpid(), 11)

class Hanging(Kind):
    def report(self):
        time.sleep(1000)

class Babbling(Kind):
    def report(self):
        print("rubbish")
        os.write(1, b"more of it")
        return {"engine": "babbling", "is_usable": "very"}

class Raising(Kind):
    def report(self):
        raise RuntimeError("no device node")

class Lying(Kind):
    def report(self):
        from localllm.engines.back_ends import EngineReport
        return EngineReport(engine="llama_cpp", is_usable=True)

class Honest(Kind):
    def report(self):
        from localllm.engines.back_ends import EngineReport
        print("a driver says hello")
        return EngineReport(engine="honest", is_usable=True, build="honest 1.0")
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """A package with engines that misbehave, installed beside this one."""
    (tmp_path / "foreign.py").write_text(FOREIGN, "utf-8")
    about = tmp_path / "foreign-1.0.dist-info"
    about.mkdir()
    names = ("Crashing", "Hanging", "Babbling", "Raising", "Lying", "Honest")
    points = "".join(f"{name.lower()} = foreign:{name}\n" for name in names)
    (about / "entry_points.txt").write_text(f"[localllm.engines]\n{points}missing = nowhere:Engine\n", "utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.registered.cache_clear()
    yield
    registry.registered.cache_clear()


@POSIX
def test_engines_of_other_packages_may_do_what_they_like(foreign: None) -> None:
    names = ("crashing", "babbling", "raising", "lying", "missing", "honest")
    assert set(names) <= set(registry.real_engines())
    reasons = {report.engine: report.reason for report in probe_engines(names)}
    assert list(reasons) == list(names)
    assert reasons["crashing"] == "its probe ended (signal 11)"
    assert reasons["babbling"].startswith("its probe gave an answer that cannot be read")
    assert reasons["raising"].startswith("its probe ended (status 1)")
    assert reasons["raising"].endswith("RuntimeError: no device node")
    assert reasons["lying"] == "its probe answered for another engine, 'llama_cpp'"
    assert reasons["missing"].startswith("the engine missing (nowhere:Engine) cannot be used: ModuleNotFoundError")
    assert reasons["honest"] == ""


@POSIX
def test_an_engine_that_hangs_is_not_waited_for(foreign: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 1.0)
    (report,) = probe_engines(("hanging",))
    assert (report.is_usable, report.reason) == (False, "its drivers gave no answer within 1 seconds")
    assert probes() == []


def test_the_inventory_is_the_machine_and_its_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    report = EngineReport(engine="llama_cpp", is_usable=True)
    monkeypatch.setattr(probing, "probe_engines", lambda names: [report])
    found = probing.take_inventory(("llama_cpp",))
    assert found.engines == (report,)
    assert found.machine.cpu.usable_cores >= 1
    with pytest.raises(InvalidRequest, match="there is no engine 'tpu'"):
        probing.take_inventory(("tpu",))
