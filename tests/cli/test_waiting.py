"""The line that shows while a question waits: on terminals alone, and gone afterwards."""

import io
import sys

import pytest

from localllm.cli.waiting import CLEAR, WaitingLine
from localllm.types import PromptProgress, Queued, TextDelta


class Screen(io.StringIO):
    """What a program wrote to stderr."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def shown(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool = True) -> tuple[WaitingLine, Screen]:
    screen = Screen(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    return WaitingLine(), screen


def test_the_place_in_the_queue_shows_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    line, screen = shown(monkeypatch)
    line.take(Queued(3))
    assert screen.getvalue() == f"{CLEAR}waiting, 2 before you"
    line.take(Queued(1))
    assert screen.getvalue().endswith(f"{CLEAR}waiting, you are next")
    line.take(PromptProgress(0, 9))
    assert screen.getvalue().endswith(f"next{CLEAR}")
    told = screen.getvalue()
    line.take(TextDelta("hello"))
    line.clear()
    assert screen.getvalue() == told


def test_nothing_shows_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    line, screen = shown(monkeypatch)
    line.take(PromptProgress(0, 9))
    line.take(TextDelta("hello"))
    line.clear()
    assert screen.getvalue() == ""


def test_nothing_shows_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    line, screen = shown(monkeypatch, is_terminal=False)
    line.take(Queued(3))
    line.clear()
    assert screen.getvalue() == ""
