"""What the program says beside its results: on stderr, so that stdout holds results alone."""

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from localllm.cli.words import printable
from localllm.errors import LocalLLMError
from localllm.models.progress import ELSEWHERE, OnProgress
from localllm.models.progress import Progress as Arrived
from localllm.units import size_words

NOTHING_HERE = "No models on this disk yet. See what there is: localllm list --all"

stderr = Console(stderr=True, highlight=False, emoji=False)  # a tag such as ":new:" is no picture


def say(text: str) -> None:
    """A line for the person at the terminal."""
    stderr.print(printable(text), markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Something that went well, with a doubt about it."""
    say(f"Warning: {text}")


def complain(text: str) -> None:
    """An error, one line."""
    print(f"localllm: {printable(text)}", file=sys.stderr)


def raise_all(errors: Sequence[LocalLLMError]) -> None:
    """Complain of every error but the last, which is raised; nothing where there is none."""
    if errors:
        for error in errors[:-1]:
            complain(error.message)
        raise errors[-1]


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
        disable=not stderr.is_terminal,
    )


@contextmanager
def download_bar(title: str) -> Generator[OnProgress, None, None]:
    """A progress bar with speed and remaining time; without a terminal, one line for each source."""
    with _bar() as bar:
        task = bar.add_task(title, total=None, visible=False)  # nothing may have to be fetched
        told: set[str] = set()

        def report(progress: Arrived) -> None:
            if progress.source not in told:
                told.add(progress.source)
                say(_beginning(title, progress))
                bar.reset(task, total=progress.total_bytes, description=title, visible=True)
            bar.update(task, completed=progress.done_bytes, total=progress.total_bytes)

        try:
            yield report
        except KeyboardInterrupt:
            bar.stop()
            if told:
                say("Interrupted. What has arrived is kept: the same command goes on from there.")
            raise


def _beginning(title: str, progress: Arrived) -> str:
    size = size_words(progress.total_bytes)
    if progress.done_bytes:
        size += f", {size_words(progress.done_bytes)} of it here already"
    if progress.source == ELSEWHERE:
        return f"{ELSEWHERE} is fetching {title} ({size}); waiting for it …"
    return f"Fetching {title} ({size}) from the {progress.source} …"


@contextmanager
def reading_bar(title: str) -> Generator[Callable[[int, int], None], None, None]:
    """A progress bar for bytes that are read: those done, and how many in all."""
    with _bar() as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def stage_bar() -> Generator[Callable[[str, float], None], None, None]:
    """A progress bar for work in stages: what is being done now, and the share of it that is. Without a terminal, a
    line for each stage."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("", total=1.0, visible=False)
        now = ""

        def report(stage: str, share: float) -> None:
            nonlocal now
            if stage != now:
                now = stage
                if not stderr.is_terminal:
                    say(f"{stage} …")
                bar.reset(task, total=1.0, description=printable(stage), visible=True)
            bar.update(task, completed=share)

        yield report
