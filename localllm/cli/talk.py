"""What the program says beside its results: on stderr, so that stdout holds results alone."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

stderr = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line for the person at the terminal."""
    stderr.print(text, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """An error, one line."""
    print(f"localllm: {text}", file=sys.stderr)


@contextmanager
def download_bar(title: str) -> Generator[Callable[[str, int, int], None], None, None]:
    """A progress bar with speed and remaining time; without a terminal, one line for each source."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        told: set[str] = set()

        def report(source: str, done: int, total: int) -> None:
            if source not in told:
                told.add(source)
                say(f"Fetching {title} ({total / 1e6:.0f} MB) from the {source} …")
                progress.reset(task, total=total, description=title)
            progress.update(task, completed=done, total=total)

        yield report
