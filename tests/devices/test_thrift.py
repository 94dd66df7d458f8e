"""Threads and guesses step down on battery, for heat and for quiet, and come back."""

import pytest

from localllm.devices.sensors.heat import Heat, HeatState
from localllm.devices.sensors.power import Power
from localllm.devices.thrift import HOLD_SECONDS, READ_SECONDS, Thrift
from localllm.types import Preference


class Laptop:
    """What it shows is what the test says; time passes when the test says so."""

    def __init__(self, prefer: Preference) -> None:
        self.is_plugged: bool | None = True
        self.heat: HeatState | None = "normal"
        self.now = 1000.0
        self.firmware_seconds = 0.0
        self.looks: list[str] = []
        self.thrift = Thrift(prefer, read_power=self._power, read_heat=self._heat, clock=lambda: self.now)

    def _power(self) -> Power:
        self.looks.append("power")
        self.now += self.firmware_seconds
        return Power(has_battery=self.is_plugged is not None, is_plugged=self.is_plugged, percent=40)

    def _heat(self) -> Heat:
        self.looks.append("heat")
        return Heat(state=self.heat)


@pytest.mark.parametrize(
    ("prefer", "plugged", "on_battery"),
    [
        ("speed", (8, 8, 4), (8, 8, 4)),
        ("battery", (8, 4, 2), (4, 2, 2)),
        ("quiet", (4, 2, 2), (4, 2, 2)),
    ],
)
def test_the_table(prefer: Preference, plugged: tuple[int, ...], on_battery: tuple[int, ...]) -> None:
    states: tuple[HeatState, ...] = ("normal", "hot", "critical")
    for is_plugged, threads in ((True, plugged), (False, on_battery)):
        for state, expected in zip(states, threads, strict=True):
            laptop = Laptop(prefer)
            laptop.is_plugged, laptop.heat = is_plugged, state
            assert laptop.thrift.threads(8) == expected
            assert laptop.thrift.spares_guessing == (expected < 8)
            assert bool(laptop.thrift.reason) == (expected < 8)


@pytest.mark.parametrize(("most", "threads"), [(1, 1), (2, 1), (3, 1), (6, 3), (64, 32)])
def test_there_is_always_a_thread(most: int, threads: int) -> None:
    assert Laptop("quiet").thrift.threads(most) == threads


@pytest.mark.parametrize("prefer", ["speed", "battery"])
def test_what_is_not_known_changes_nothing(prefer: Preference) -> None:
    laptop = Laptop(prefer)
    laptop.is_plugged = laptop.heat = None
    assert laptop.thrift.threads(8) == 8
    assert not laptop.thrift.spares_guessing
    assert laptop.thrift.reason == ""


def test_pulling_the_plug_is_seen_after_some_seconds() -> None:
    laptop = Laptop("battery")
    assert laptop.thrift.threads(8) == 8
    laptop.is_plugged = False
    laptop.now += READ_SECONDS / 2
    assert laptop.thrift.threads(8) == 8
    assert laptop.looks == ["power", "heat"]
    laptop.now += READ_SECONDS
    assert laptop.thrift.threads(8) == 4
    laptop.is_plugged = True
    laptop.now += READ_SECONDS
    assert laptop.thrift.threads(8) == 8


def test_heat_counts_at_once_and_for_a_while() -> None:
    laptop = Laptop("battery")
    laptop.heat = "critical"
    assert laptop.thrift.threads(8) == 2
    laptop.heat = "normal"
    laptop.now += HOLD_SECONDS - 1
    assert laptop.thrift.threads(8) == 2
    laptop.now += READ_SECONDS
    assert laptop.thrift.threads(8) == 8


def test_heat_that_comes_back_holds_anew() -> None:
    laptop = Laptop("battery")
    laptop.heat = "hot"
    for _ in range(10):
        assert laptop.thrift.threads(8) == 4
        laptop.now += HOLD_SECONDS / 2
    laptop.heat = "normal"
    assert laptop.thrift.threads(8) == 4
    laptop.heat = "critical"  # worse counts at once, whatever is held
    laptop.now += READ_SECONDS
    assert laptop.thrift.threads(8) == 2
    laptop.heat = "hot"  # and better goes one step at a time
    laptop.now += HOLD_SECONDS
    assert laptop.thrift.threads(8) == 4


def test_a_slow_firmware_is_asked_less_often() -> None:
    laptop = Laptop("battery")
    laptop.firmware_seconds = 0.5
    laptop.thrift.threads(8)
    for _ in range(9):
        laptop.now += READ_SECONDS
        laptop.thrift.threads(8)
    assert laptop.looks == ["power", "heat"]
    laptop.now += READ_SECONDS
    laptop.thrift.threads(8)
    assert laptop.looks == ["power", "heat"] * 2


@pytest.mark.parametrize("prefer", ["speed", "quiet"])
def test_where_power_changes_nothing_it_is_not_asked_for(prefer: Preference) -> None:
    laptop = Laptop(prefer)
    laptop.thrift.threads(8)
    assert laptop.looks == ["heat"]


def test_the_reason_in_words() -> None:
    laptop = Laptop("battery")
    laptop.is_plugged, laptop.heat = False, "hot"
    assert laptop.thrift.reason == (
        "a quarter of the threads, and no guessing ahead, by --prefer battery: "
        "on battery (40 %) and the processor is hot"
    )
    assert Laptop("quiet").thrift.reason == "half of the threads, and no guessing ahead, by --prefer quiet"
    laptop = Laptop("speed")
    laptop.heat = "critical"
    assert laptop.thrift.reason.endswith("by --prefer speed: the processor is critically hot")


def test_this_machine_can_be_read() -> None:
    for prefer in ("speed", "battery", "quiet"):
        assert 1 <= Thrift(prefer).threads(8) <= 8
