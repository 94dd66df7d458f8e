"""The command line without a process of its own: what a verb says, prints and exits with."""

import json
import sys
from typing import Any

import pytest
from msgspec import Struct

from localllm.cli.app import main


class Told(Struct, frozen=True):
    """What became of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which must be JSON and nothing else."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """What it printed, in words: a list for each line."""
        return [line.split() for line in self.out.splitlines()]


class Shell:
    """Runs `localllm` with arguments, in the environment of this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str) -> Told:
        """Run it to its end; a user's mistake never shows a traceback."""
        self._monkeypatch.setattr(sys, "argv", ["localllm", *arguments])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        return Told(int(ended.value.code or 0), out, err)

    def ok(self, *arguments: str) -> Told:
        """As a call, which must go well."""
        told = self(*arguments)
        assert told.code == 0, told.err
        return told
