"""How many cores other programs leave free, and so how many threads are worth using right now.

A matrix product ends when its slowest thread does. With one thread per core and one core taken by another
program, every product waits for the scheduler to give that core back: on a 2-core machine a token then took
three to four times as long as with one thread less (docs/performance.md).
"""

import time

import psutil

from localllm.devices.cpu import usable_processors
from localllm.devices.thrift import Thrift

WINDOW_SECONDS = 0.2  # the kernel counts in ticks of 10 ms or so
TOLERATED_CORES = 0.5  # others may take so much before a thread is given up


class CoreMeter:
    """Measures, between two calls, what other programs took of the cores that this process may use."""

    def __init__(self) -> None:
        self._processors = usable_processors()
        self.cores = len(self._processors)
        self.restart()

    def elapsed_seconds(self) -> float:
        """Since the last measurement."""
        return time.monotonic() - self._at

    def others(self) -> float:
        """Cores busy for others, on average since the last measurement; begins a new one."""
        at, busy, own = self._at, self._busy, self._own
        self.restart()
        wall = self._at - at
        return max(0.0, ((self._busy - busy) - (self._own - own)) / wall) if wall > 0 else 0.0

    def restart(self) -> None:
        """Begin a new measurement."""
        self._at, self._busy, self._own = time.monotonic(), self._busy_seconds(), time.process_time()

    def _busy_seconds(self) -> float:
        times = psutil.cpu_times(percpu=True)
        mine = [times[number] for number in self._processors if number < len(times)]
        return float(sum(sum(cpu) - cpu.idle - getattr(cpu, "iowait", 0.0) - _counted_twice(cpu) for cpu in mine))


class ThreadGovernor:
    """Chooses the number of threads for the next step, between 1 and `most`: no more than others leave free, and no
    more than `thrift` allows."""

    def __init__(self, most: int, meter: CoreMeter, thrift: Thrift | None = None) -> None:
        self._most = most
        self._meter = meter
        self._thrift = thrift
        self._free = most  # by the last measurement
        self.threads = self._cap()

    def update(self, idle_seconds: float) -> bool:
        """Before a step, `idle_seconds` after the last one: measure if it is time; whether `threads` has changed."""
        before = self.threads
        if idle_seconds > WINDOW_SECONDS:  # what others did while we did nothing says little about now
            self._meter.restart()
            self._free = self._most
        elif self._meter.elapsed_seconds() > WINDOW_SECONDS:
            self._free = int(self._meter.cores - self._meter.others() + TOLERATED_CORES)
        self.threads = max(1, min(self._cap(), self._free))
        return self.threads != before

    def _cap(self) -> int:
        return self._thrift.threads(self._most) if self._thrift is not None else self._most


def _counted_twice(cpu: object) -> float:
    """Time of virtual machines, which Linux also counts as user time."""
    return float(getattr(cpu, "guest", 0.0)) + float(getattr(cpu, "guest_nice", 0.0))
