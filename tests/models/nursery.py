"""Many pulls by processes of their own, forked from one that has imported everything: quick to start and to kill."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Self

import msgspec

from tests.models.child import ROOT
from tests.models.puller import Order, Outcome


class Nursery:
    """The process that forks. A context manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.models.puller"],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def pull(self, order: Order) -> list[int]:
        """The exit codes of the processes that pulled, negative for signals."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        return msgspec.json.decode(line, type=Outcome).statuses
