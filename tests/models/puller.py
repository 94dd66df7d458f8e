"""Pull in a process of its own: python -m tests.models.puller CARD HOME; prints one line for each step.

A real process reads HF_ENDPOINT as users' processes do, and can be killed. Without arguments it is a nursery: for each
order on stdin it forks a process that pulls, and that may kill itself at a step of the way.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from localllm.errors import LocalLLMError
from localllm.models.card import read_card
from localllm.models.progress import ELSEWHERE, Progress
from localllm.models.pull import PullOptions, pull
from localllm.models.storage.store import Store
from localllm.models.wanted import pinned

LEAST_PART_BYTES = 100_000  # a part has its whole size from the beginning; what is smaller is its journal


class Order(msgspec.Struct):
    """A pull to be done by a process of its own."""

    card: str
    home: str
    call: str = ""  # of `os`, at which the process kills itself before it is done; empty: at none
    number: int = 0  # at the so-manieth; of pwrite: after so many bytes of data, in the middle of a write
    count: int = 1  # processes that pull side by side


class Outcome(msgspec.Struct):
    """How it ended."""

    statuses: list[int]  # exit codes, negative for signals


def main() -> int:
    """Returns the exit code."""
    if len(sys.argv) == 1:
        return tend()
    return run(*sys.argv[1:])


def run(card: str, home: str) -> int:
    """One pull; returns the exit code."""
    print("start", flush=True)
    try:
        wanted = pinned(read_card(Path(card)))
        if wanted is None:
            return 2
        manifest = pull(wanted, Store(Path(home)), PullOptions(), _report, print)
    except LocalLLMError as error:
        print(f"failed {error.code}: {error.message}", flush=True)
        return 1
    print(f"from {manifest.source}", flush=True)
    return 0


def tend() -> int:
    """Carry out orders until there are no more."""
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Order)
        children = [_fork(order) for _ in range(order.count)]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(msgspec.json.encode(Outcome(statuses)).decode(), flush=True)
    return 0


def _fork(order: Order) -> int:
    child = os.fork()
    if child:
        return child
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    if order.call:
        setattr(os, order.call, _deadly(order))
    os._exit(run(order.card, order.home))


def _deadly(order: Order) -> Callable[..., object]:
    function, left = getattr(os, order.call), order.number
    counting = threading.Lock()

    def call(*arguments: object) -> object:
        nonlocal left
        if order.call != "pwrite":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)
        descriptor, data, offset = arguments
        if os.fstat(descriptor).st_size < LEAST_PART_BYTES:  # type: ignore[arg-type]
            return function(*arguments)
        view = memoryview(data)  # type: ignore[arg-type]
        with counting:
            count = min(len(view), left)
            function(descriptor, view[:count], offset)
            left -= count
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return count

    return call


def _report(progress: Progress) -> None:
    print(f"{'elsewhere' if progress.source == ELSEWHERE else 'bytes'} {progress.done_bytes}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
