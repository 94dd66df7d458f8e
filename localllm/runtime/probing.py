"""What the engines can use on this machine, each looked at in a process of its own: a driver that crashes is a reason
to tell, and brings down nothing else."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

import msgspec

from localllm.config import worker_environment
from localllm.engines.back_ends import EngineReport
from localllm.engines.probe import ENGINES, check_engine

PROBE_SECONDS = 60.0  # importing ExecuTorch takes some seconds, and a driver that hangs takes forever
_LAST_WORDS_CHARS = 300


def probe_engines(names: Sequence[str] = ENGINES) -> list[EngineReport]:
    """What each engine can use, in the order of `names`. Raises InvalidRequest for a name that is none."""
    for name in names:
        check_engine(name)
    with ExitStack() as stack:
        probes = [stack.enter_context(_probing(name)) for name in names]
        deadline = time.monotonic() + PROBE_SECONDS
        return [probe.report(deadline) for probe in probes]


@contextmanager
def _probing(engine: str) -> "Generator[_Probe, None, None]":
    """A child process that looks; it has ended afterwards. It writes to files, which nobody must read meanwhile."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            (sys.executable, "-P", "-m", "localllm.engines.probe", engine),  # no module of the current folder
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=worker_environment(),
        )
        try:
            yield _Probe(engine, child, stdout, stderr)
        finally:
            child.kill()
            child.wait()


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
        try:
            return msgspec.json.decode(_content(self._stdout), type=EngineReport)
        except msgspec.MsgspecError as error:
            return self._fault(f"its probe gave an answer that cannot be read: {error}")

    def _fault(self, reason: str) -> EngineReport:
        return EngineReport(engine=self._engine, is_usable=False, reason=reason)

    def _last_words(self) -> str:
        lines = _content(self._stderr).decode("utf-8", "replace").splitlines()
        return " | ".join(line.strip() for line in lines if line.strip())[-_LAST_WORDS_CHARS:]


def _content(file: IO[bytes]) -> bytes:
    file.seek(0, os.SEEK_SET)
    return file.read()
