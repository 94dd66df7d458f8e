"""`localllm chat` in a real terminal."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from tests.tui.terminal import needs_tmux, terminal

pytestmark = needs_tmux
CHAT = [sys.executable, "-m", "localllm", "chat"]


def test_a_whole_visit(tmp_path: Path) -> None:
    with terminal([*CHAT, "--model", "echo:50"], tmp_path) as pane:
        pane.shows("context 0/4.1k")
        assert pane.modes.startswith("1")
        assert "╭" + "─" * 98 + "╮" in pane.text
        pane.type("hello there")
        pane.press("Enter")
        pane.until(lambda: pane.text.count("hello there") == 2 and "tok/s" in pane.text)
        pane.type("word " * 60)
        pane.press("Enter")
        pane.shows("answering")
        pane.type("my draft")
        pane.press("Escape")
        pane.shows("Stopped.")
        assert "my draft" in pane.text
        running = pane.processes
        assert len(running) >= 2  # the app and its worker
        pane.press(*["BSpace"] * len("my draft"))
        pane.type("/quit")
        pane.press("Enter")
        pane.shows("exit code 0")
        assert "Traceback" not in pane.text
        assert pane.modes == "0 0"
        assert not [process for process in running if process.is_running() and process.name() != "cat"]


@pytest.mark.slow
def test_a_terminal_that_closes_leaves_no_process(tmp_path: Path) -> None:
    with terminal([*CHAT, "--model", "echo:50"], tmp_path) as pane:
        pane.shows("context 0/4.1k")
        running = pane.processes
    assert psutil.wait_procs(running, timeout=20)[1] == []


@pytest.mark.slow
def test_a_model_that_is_not_there_is_said_before_the_screen_changes(tmp_path: Path) -> None:
    with terminal([*CHAT, "--model", "./no.gguf"], tmp_path) as pane:
        pane.shows("exit code")
        assert "no.gguf" in pane.text
        assert "exit code 0" not in pane.text
        assert "Traceback" not in pane.text


@pytest.mark.real_model
@pytest.mark.slow
def test_the_capital_of_france(tmp_path: Path, starter_home: Path) -> None:
    home = {"LOCALLLM_HOME": str(starter_home), "LOCALLLM_CONFIG": os.devnull}
    with terminal(CHAT, tmp_path, environment=home) as pane:
        pane.shows("llama_cpp/")
        pane.type("What is the capital of France?")
        pane.press("Enter")
        pane.shows("tok/s")
        answer = pane.text.split("capital of France?", 1)[1].split("╭", 1)[0]
        assert answer.strip()
        assert "Ctrl+R tries again." not in answer
