"""The parent's side of a step: a process of its own for each, so that a native abort costs that step alone."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, TypeVar

import msgspec

from localllm.config import worker_environment
from localllm.errors import EngineError
from localllm.quantize.steps import Fault, Progress, Result, Step
from localllm.worker.frames import frame, messages

_LAST_WORDS_BYTES = 4096
_KILLED = 9  # SIGKILL: what the system does to a process for which there is no memory

OnProgress = Callable[[Progress], None]
Kind = TypeVar("Kind", bound=Result)


def run_step(step: Step, kind: type[Kind], on_progress: OnProgress) -> Kind:
    """Do a step in a child process; returns its result, which is of `kind`.

    However this ends, also by KeyboardInterrupt, the child has ended before. Raises what the step raises, and
    EngineError where its process ends without a result.
    """
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "localllm.quantize"],  # no module of the current folder in the place of ours
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=worker_environment(),
        )
        try:
            result = _talk(child, step, on_progress)
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what was not taken is written once more
                        pipe.close()
        if isinstance(result, kind):
            return result
        raise EngineError(_end_words(step, child.returncode, _last_words(stderr)))


def _talk(child: "subprocess.Popen[bytes]", step: Step, on_progress: OnProgress) -> Result | None:
    """Its result, or None where it ended without one."""
    if child.stdin is None or child.stdout is None:
        return None
    with suppress(OSError):  # it has ended already, which shows below
        child.stdin.write(frame(step))
        child.stdin.flush()
    for message in _messages(child.stdout):
        match message:
            case Progress():
                on_progress(message)
            case Fault(error=report):
                raise report.rebuild()
            case _:
                return message
    child.wait()
    return None


def _messages(stdout: IO[bytes]) -> Iterator[Progress | Fault | Result]:
    try:
        yield from messages(stdout.fileno(), msgspec.msgpack.Decoder(Progress | Fault | Result))
    except (ValueError, msgspec.MsgspecError) as error:
        raise EngineError(f"a step's process sent garbage: {error}") from error


def _last_words(stderr: IO[bytes]) -> str:
    stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, stderr.tell() - _LAST_WORDS_BYTES))
    lines = stderr.read().decode("utf-8", "replace").splitlines()
    return " | ".join(line.strip() for line in lines if line.strip())[-600:]


def _end_words(step: Step, status: int, words: str) -> str:
    name = type(step).__name__.lower()
    if status == -_KILLED:
        return f"the process of the step {name!r} was killed, perhaps because memory ran out; close other programs"
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"the process of the step {name!r} ended ({how}){f'; its last words: {words}' if words else ''}"
