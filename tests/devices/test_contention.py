"""Threads give way to other programs."""

import subprocess
import sys
import time

import pytest

from localllm.devices.contention import WINDOW_SECONDS, CoreMeter, ThreadGovernor
from localllm.devices.thrift import Thrift


class FakeMeter(CoreMeter):
    """Others take what the test says."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.taken = 0.0
        self.elapsed = 1.0

    def elapsed_seconds(self) -> float:
        return self.elapsed

    def others(self) -> float:
        return self.taken

    def restart(self) -> None:
        self.elapsed = 0.0


@pytest.mark.parametrize(("taken", "threads"), [(0.0, 4), (0.4, 4), (0.9, 3), (2.0, 2), (4.0, 1), (9.0, 1)])
def test_a_thread_is_given_up_for_each_core_that_others_take(taken: float, threads: int) -> None:
    meter = FakeMeter(4)
    governor = ThreadGovernor(4, meter)
    meter.taken = taken
    assert governor.update(idle_seconds=0.0) == (threads != 4)
    assert governor.threads == threads


def test_threads_come_back() -> None:
    meter = FakeMeter(4)
    governor = ThreadGovernor(3, meter)
    meter.taken = 3.0
    assert governor.update(idle_seconds=0.0)
    meter.taken = 0.0
    assert governor.update(idle_seconds=0.0)
    assert governor.threads == 3


def test_nothing_is_measured_in_too_short_a_time() -> None:
    meter = FakeMeter(4)
    governor = ThreadGovernor(4, meter)
    meter.taken, meter.elapsed = 4.0, WINDOW_SECONDS / 2
    assert not governor.update(idle_seconds=0.0)


def test_what_others_did_during_a_pause_does_not_count() -> None:
    meter = FakeMeter(4)
    governor = ThreadGovernor(4, meter)
    meter.taken = 4.0
    assert not governor.update(idle_seconds=5.0)
    assert governor.threads == 4
    assert meter.elapsed == 0.0  # a new measurement has begun


class FakeThrift(Thrift):
    """Allows what the test says."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed

    def threads(self, most: int) -> int:
        return min(most, self.allowed)


def test_thrift_caps_the_threads_from_the_first_step_on() -> None:
    meter, thrift = FakeMeter(8), FakeThrift(2)
    governor = ThreadGovernor(8, meter, thrift)
    assert governor.threads == 2
    assert not governor.update(idle_seconds=0.0)
    thrift.allowed = 8  # plugged in again
    assert governor.update(idle_seconds=0.0)
    assert governor.threads == 8


@pytest.mark.parametrize(("allowed", "taken", "threads"), [(4, 2.0, 4), (4, 6.0, 2), (1, 0.0, 1), (1, 8.0, 1)])
def test_the_lesser_of_what_others_leave_and_thrift_allows(allowed: int, taken: float, threads: int) -> None:
    meter = FakeMeter(8)
    governor = ThreadGovernor(8, meter, FakeThrift(allowed))
    meter.taken = taken
    governor.update(idle_seconds=0.0)
    assert governor.threads == threads


def test_the_cap_holds_between_measurements_and_after_a_pause() -> None:
    meter, thrift = FakeMeter(8), FakeThrift(8)
    governor = ThreadGovernor(8, meter, thrift)
    meter.taken = 5.0
    governor.update(idle_seconds=0.0)
    assert governor.threads == 3
    meter.elapsed = 0.0  # too soon to measure again
    thrift.allowed = 2
    assert governor.update(idle_seconds=0.0)
    assert governor.threads == 2
    thrift.allowed = 4
    assert governor.update(idle_seconds=5.0)  # what others did meanwhile is forgotten, the cap is not
    assert governor.threads == 4


@pytest.mark.slow
def test_another_program_is_seen_and_this_one_is_not() -> None:
    meter = CoreMeter()
    began, own = time.monotonic(), time.process_time()
    while time.monotonic() < began + 1.0:  # this process is busy; it is no other
        pass
    own_cores = (time.process_time() - own) / (time.monotonic() - began)
    quiet = meter.others()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            time.sleep(0.2)
            meter.restart()
            time.sleep(1.0)
            busy = meter.others()
        finally:
            other.kill()
    assert busy > 0.5
    assert quiet < meter.cores - own_cores + 0.2  # other programs may run, but what we took is not theirs
