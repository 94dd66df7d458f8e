"""`localllm` as a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import psutil
from msgspec import Struct

LOCALLLM = [sys.executable, "-m", "localllm"]
SECONDS = 100  # after which a command is taken to hang
Done = subprocess.CompletedProcess[str]


def localllm(*arguments: str, stdin: str | None = None, environment: Mapping[str, str] = os.environ) -> Done:
    """Run a verb to its end. Without `stdin` there is an empty one, as under a service manager."""
    return subprocess.run(
        [*LOCALLLM, *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
        env=dict(environment),
    )


class ServerProcess(Struct):
    """A running server."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def worker(self) -> psutil.Process:
        """Its model's process, the newest if an old one is still ending."""
        return max(psutil.Process(self.process.pid).children(), key=lambda child: child.create_time())


@contextmanager
def serving(*options: str, **environment: str) -> Generator[ServerProcess, None, None]:
    """A server on a free port, ready to answer; killed at the end if it still runs."""
    command = [*LOCALLLM, "serve", "--port", "0", *options]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        try:
            yield ServerProcess(process, _url(process))
        finally:
            process.kill()


def _url(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        match = re.search(r"http://\S+/v1", line)
        if match:
            return match[0]
    raise AssertionError(f"the server did not start: {said}")
