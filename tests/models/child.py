"""Child processes of tests: what they print, line by line, and none of them left behind."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent.parent
NOBODY = "http://127.0.0.1:9"  # the discard port: connections are refused


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a child: no proxy, no hub or pip settings of the developer's own."""
    unwanted = ("HF_", "HUGGING", "PIP_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "DO_NOT_TRACK")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(unwanted)}
    loopback = {"HF_ENDPOINT": NOBODY, "HF_HOME": str(home / "hf"), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    return kept | loopback | {"NO_PROXY": "127.0.0.1,localhost"} | more


class Child:
    """A Python process whose stdout is read line by line. Killed at the end of the block if it still runs."""

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line; fails at the end of the output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the child ended: {self.process.communicate()[1]}"
        return line.rstrip("\n")

    def until_bytes(self, wanted: int) -> None:
        """Wait until the child has reported so many bytes."""
        while True:
            word, _, rest = self.line().partition(" ")
            if word == "bytes" and int(rest) >= wanted:
                return

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait()

    def finish(self) -> tuple[int, list[str]]:
        """The exit code and the remaining lines."""
        output, _ = self.process.communicate()
        return self.process.returncode, output.splitlines()


def puller(card: Path, home: Path, environment: Mapping[str, str]) -> Child:
    """A child that pulls the model of `card` into `home`."""
    return Child("-m", "tests.models.puller", str(card), str(home), environment=environment)
