"""A command in a real terminal: tmux, on a server of its own."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

PATIENCE_SECONDS = 30
TMUX = shutil.which("tmux")
needs_tmux = pytest.mark.skipif(TMUX is None, reason="needs tmux")


class Terminal:
    """A pane, and the shell command that runs in it."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *arguments: str) -> str:
        command = [str(TMUX), "-S", str(self._socket), "-f", os.devnull, *arguments]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout

    @property
    def text(self) -> str:
        """What the pane shows."""
        return self.tmux("capture-pane", "-p")

    @property
    def processes(self) -> list[psutil.Process]:
        """Everything that runs below the pane's shell."""
        shell = psutil.Process(int(self.tmux("display-message", "-p", "#{pane_pid}")))
        return shell.children(recursive=True)

    @property
    def modes(self) -> str:
        """Whether the alternate screen and mouse reporting are on."""
        return self.tmux("display-message", "-p", "#{alternate_on} #{mouse_any_flag}").strip()

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"still waiting; the terminal shows:\n{self.text}"
            time.sleep(0.02)

    def shows(self, text: str) -> None:
        self.until(lambda: text in self.text)


@contextmanager
def terminal(
    command: list[str], folder: Path, *, environment: dict[str, str] | None = None
) -> Generator[Terminal, None, None]:
    """The command running in a pane; when it ends its exit code shows, and the shell stays."""
    socket = folder / "tmux"
    pane = Terminal(socket)
    script = f"{shlex.join(command)}; echo exit code $?; exec cat"
    settings = [f"{name}={value}" for name, value in (environment or {}).items()]
    size = ("-u", "COLUMNS", "-u", "LINES")  # the pane's own holds
    pane.tmux("new-session", "-d", "-x", "100", "-y", "30", shlex.join(["env", *size, *settings, "sh", "-c", script]))
    try:
        yield pane
    finally:
        pane.tmux("kill-server")
