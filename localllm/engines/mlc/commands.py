"""MLC's own commands, which make models: each in a process of its own, heard to the end (mlc_llm/cli)."""

import subprocess
import sys
from collections import deque
from contextlib import suppress

from localllm.config import worker_environment
from localllm.engines.mlc.last_words import last_words
from localllm.engines.mlc.native import require_installed
from localllm.errors import EngineError

_LAST_LINES = 100  # that are kept meanwhile


def run_command(name: str, *arguments: str) -> None:
    """Run it. Nothing of it is left running, however this ends.

    Raises EngineUnavailable where MLC is not installed, EngineError with its last words where it fails.
    """
    require_installed()
    child = subprocess.Popen(
        (sys.executable, "-P", "-m", "localllm.engines.mlc.command_process", name, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=worker_environment() | {"PYTHONSAFEPATH": "1"},  # it starts modules from the current folder
        start_new_session=True,
    )
    try:
        words = _heard(child)
        status = child.wait()
    finally:
        _end(child)
    if status:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise EngineError(f"mlc_llm {name} failed ({how}){f'; its last words: {words}' if words else ''}")


def _heard(child: "subprocess.Popen[bytes]") -> str:
    """Its last words, when it has ended. What it prints is read all the while, or it would wait for that."""
    return last_words(deque(child.stdout or (), maxlen=_LAST_LINES))


def _end(child: "subprocess.Popen[bytes]") -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    child.wait()
