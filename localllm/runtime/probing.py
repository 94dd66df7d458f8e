"""What the engines can use on this machine, each looked at in a process of its own: a driver that crashes is a reason
to tell, and brings down nothing else."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

import msgspec
from msgspec import Struct

from localllm.config import worker_environment
from localllm.devices.machine import Machine, look
from localllm.engines.back_ends import EngineReport
from localllm.engines.registry import check_engine

PROBE_SECONDS = 60.0  # importing ExecuTorch takes some seconds, and a driver that hangs takes forever
_END_SECONDS = 5.0  # one that hangs within the kernel cannot be killed, and is not waited for
_ANSWER_BYTES = 2**20  # more than any engine has to say
_LAST_WORDS_CHARS = 300


class Inventory(Struct, frozen=True, kw_only=True):
    """The machine, and what each engine can use of it."""

    machine: Machine
    engines: tuple[EngineReport, ...]


def take_inventory(names: Sequence[str]) -> Inventory:
    """Look at the machine, then at the engines. Raises InvalidRequest for a name that is none."""
    for name in names:
        check_engine(name)
    machine = look()  # first, while no probe takes a core
    return Inventory(machine=machine, engines=tuple(probe_engines(names)))


def probe_engines(names: Sequence[str]) -> list[EngineReport]:
    """What each engine can use, in the order of `names`. Raises InvalidRequest for a name that is none."""
    for name in names:
        check_engine(name)
    with ExitStack() as stack:
        probes = [stack.enter_context(_probing(name)) for name in names]
        deadline = time.monotonic() + PROBE_SECONDS
        return [probe.report(deadline) for probe in probes]


@contextmanager
def _probing(engine: str) -> "Generator[_Probe, None, None]":
    """A child process that looks; it has ended afterwards, with what it started. It writes to files, which nobody must
    read meanwhile."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            (sys.executable, "-P", "-m", "localllm.engines.probe", engine),  # no module of the current folder
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=worker_environment(),
            start_new_session=True,  # a group of its own, so that all of it can be ended
        )
        try:
            yield _Probe(engine, child, stdout, stderr)
        finally:
            _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of it: also a tool that a driver has started and that hangs."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    with suppress(subprocess.TimeoutExpired):
        child.wait(_END_SECONDS)


class _Probe:
    """A child process and what it has written."""

    def __init__(self, engine: str, child: "subprocess.Popen[bytes]", stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self._engine = engine
        self._child = child
        self._stdout = stdout
        self._stderr = stderr

    def report(self, deadline: float) -> EngineReport:
        """What it says, or why it says nothing."""
        try:
            status = self._child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return self._fault(f"its drivers gave no answer within {PROBE_SECONDS:.0f} seconds")
        if status:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            words = self._last_words()
            return self._fault(f"its probe ended ({how}){f'; its last words: {words}' if words else ''}")
        return self._answer()

    def _answer(self) -> EngineReport:
        answer = _content(self._stdout, _ANSWER_BYTES)
        try:
            report = msgspec.json.decode(answer, type=EngineReport)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return self._fault(f"its probe gave an answer that cannot be read: {error}")
        if report.engine != self._engine:
            return self._fault(f"its probe answered for another engine, {report.engine[:40]!r}")
        return report

    def _fault(self, reason: str) -> EngineReport:
        return EngineReport(engine=self._engine, is_usable=False, reason=reason)

    def _last_words(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _ANSWER_BYTES))
        lines = self._stderr.read().decode("utf-8", "replace").splitlines()
        return " | ".join(line.strip() for line in lines if line.strip())[-_LAST_WORDS_CHARS:]


def _content(file: IO[bytes], most_bytes: int) -> bytes:
    file.seek(0, os.SEEK_SET)
    return file.read(most_bytes)
