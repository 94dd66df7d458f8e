"""Jobs that wait for a slot: who is next, how many may wait, and when it is worth coming again."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from localllm.engines.job import Job
from localllm.errors import QueueFull

SMOOTHING = 0.2
FIRST_GUESS_SECONDS = 1.0  # between two ends of jobs, before any has ended


class Waiting(Protocol):
    """What stands in the queue."""

    @property
    def job(self) -> Job:
        """What is to be done."""
        ...


Entry = TypeVar("Entry", bound=Waiting)


class AdmissionQueue(Generic[Entry]):
    """Interactive jobs before batch jobs; then those of the client with the fewest running; then by arrival."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: list[Entry] = []
        self._told: dict[int, int] = {}  # job id to the position last told
        self._seconds_per_end = FIRST_GUESS_SECONDS
        self._last_end = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, entry: Entry, *, free_slots: int) -> None:
        """Take a new job. Raises QueueFull when as many as may already wait for slots that are not free."""
        if len(self._waiting) >= self._limit + free_slots:
            raise QueueFull(
                f"{len(self._waiting)} requests wait already, which is as many as may (--max-queue); try again later",
                retry_seconds=len(self._waiting) * self._seconds_per_end,
            )
        self._waiting.append(entry)

    def put_back(self, entry: Entry) -> None:
        """Take a job that gave its slot away; it keeps its place by arrival."""
        self._waiting.append(entry)

    def remove(self, job_id: int) -> None:
        """Forget a job; idempotent."""
        self._waiting = [entry for entry in self._waiting if entry.job.id != job_id]
        self._told.pop(job_id, None)

    def in_order(self, running: Iterable[Entry]) -> list[Entry]:
        """Everyone who waits, the next first."""
        busy = Counter(entry.job.client.scope for entry in running)
        return sorted(self._waiting, key=lambda s: (s.job.is_batch, busy[s.job.client.scope], s.job.id))

    def moved(self, running: Iterable[Entry]) -> dict[int, int]:
        """Positions, from 1, of the jobs whose position is not the one last told."""
        if not self._waiting and not self._told:
            return {}
        positions = {entry.job.id: at for at, entry in enumerate(self.in_order(running), start=1)}
        changed = {job_id: at for job_id, at in positions.items() if self._told.get(job_id) != at}
        self._told = positions
        return changed

    def ended(self) -> None:
        """Learn from the end of a job how fast places come free."""
        now = time.monotonic()
        if self._last_end:
            self._seconds_per_end += SMOOTHING * (min(now - self._last_end, 60.0) - self._seconds_per_end)
        self._last_end = now
