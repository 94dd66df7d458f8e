"""Hot machines, planted: sensors with and without limits, counters, and what other systems say."""

import ctypes
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from localllm.devices.sensors import heat, thermal_pressure
from localllm.devices.sensors.heat import Heat, HeatGauge, sensor_state
from localllm.devices.sensors.temperatures import Sensor


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def be(name: str) -> None:
        monkeypatch.setattr(platform, "system", lambda: name)

    be("Linux")
    return be


def plant(root: Path, folder: str, **files: str) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / folder / name).write_text(text + "\n", "utf-8")


def coretemp(root: Path, package: int, *, high: int = 80, critical: int = 100) -> None:
    """As a laptop of Intel shows it: the package and two cores; and a disk, which is no processor."""
    files = {"name": "coretemp"}
    for place, (label, celsius) in enumerate([("Package id 0", package), ("Core 0", package), ("Core 1", 40)], 1):
        files |= {
            f"temp{place}_label": label,
            f"temp{place}_input": str(celsius * 1000),
            f"temp{place}_max": str(high * 1000),
            f"temp{place}_crit": str(critical * 1000),
        }
    plant(root, "class/hwmon/hwmon3", **files)
    plant(root, "class/hwmon/hwmon0", name="nvme", temp1_input="99000", temp1_crit="84800")


@pytest.mark.parametrize(
    ("celsius", "high", "critical", "state"),
    [
        (79, 80, 100, "normal"),
        (80, 80, 100, "hot"),
        (100, 80, 100, "critical"),
        (94, 100, 100, "normal"),  # limits that are the same: hot a little before
        (95, 100, 100, "hot"),
        (80, None, 105, "normal"),
        (101, None, 105, "hot"),
        (105, None, 105, "critical"),
        (89, None, None, "normal"),  # none told: those assumed
        (90, None, None, "hot"),
        (100, None, None, "critical"),
        (75, 70, None, "hot"),
    ],
)
def test_limits(celsius: float, high: float | None, critical: float | None, state: str) -> None:
    assert sensor_state(Sensor(name="x", celsius=celsius, high_celsius=high, critical_celsius=critical)) == state


@pytest.mark.parametrize(("package", "state"), [(45, "normal"), (85, "hot"), (100, "critical")])
def test_the_package_counts_and_no_disk(tmp_path: Path, package: int, state: str) -> None:
    coretemp(tmp_path, package)
    told = HeatGauge(tmp_path).read()
    assert (told.state, told.throttle_events, told.is_throttled, told.reason) == (state, None, False, "")
    assert told.warmest == Sensor(
        name="coretemp Package id 0", celsius=package, high_celsius=80.0, critical_celsius=100.0
    )


def test_a_chip_without_labels_shows_all_its_sensors(tmp_path: Path) -> None:
    files = {"temp1_input": "41000", "temp2_input": "93000", "temp2_max": "65261850", "temp2_crit": "0"}
    plant(tmp_path, "class/hwmon/hwmon0", name="cpu_thermal", **files)
    told = HeatGauge(tmp_path).read()
    assert told.warmest == Sensor(name="cpu_thermal", celsius=93.0)  # what cannot be a limit is none
    assert told.state == "hot"


def test_the_sensor_that_is_worst_off_decides(tmp_path: Path) -> None:
    files = {"temp1_input": "85000", "temp1_crit": "95000", "temp2_input": "75000"}
    plant(tmp_path, "class/hwmon/hwmon0", name="cpu_thermal", temp2_max="70000", temp2_crit="110000", **files)
    told = HeatGauge(tmp_path).read()
    assert told.state == "hot"
    assert told.warmest is not None
    assert told.warmest.celsius == 75.0


@pytest.mark.parametrize(("celsius", "state"), [(60, "normal"), (85, "hot"), (105, "critical")])
def test_zones_of_a_board_with_trip_points(tmp_path: Path, celsius: int, state: str) -> None:
    trips = {
        "trip_point_0_type": "active",
        "trip_point_0_temp": "50000",
        "trip_point_1_type": "passive",
        "trip_point_1_temp": "80000",
        "trip_point_2_type": "critical",
        "trip_point_2_temp": "105000",
    }
    plant(tmp_path, "class/thermal/thermal_zone1", type="cpu-thermal", temp=str(celsius * 1000), **trips)
    plant(tmp_path, "class/thermal/thermal_zone0", type="battery", temp="99000")
    told = HeatGauge(tmp_path).read()
    assert told.state == state
    assert told.warmest == Sensor(name="cpu-thermal", celsius=celsius, high_celsius=80.0, critical_celsius=105.0)


def test_the_firmwares_zone_is_better_than_none(tmp_path: Path) -> None:
    plant(tmp_path, "class/thermal/thermal_zone0", type="acpitz", temp="50000")
    assert HeatGauge(tmp_path).read().state == "normal"


def test_a_core_that_is_throttled_meanwhile(tmp_path: Path) -> None:
    coretemp(tmp_path, 70)
    folder = "devices/system/cpu/cpu0/thermal_throttle"
    plant(tmp_path, folder, core_throttle_count="3", package_throttle_count="5")
    plant(tmp_path, "devices/system/cpu/cpu1/thermal_throttle", core_throttle_count="1", package_throttle_count="5")
    gauge = HeatGauge(tmp_path)
    told = gauge.read()
    assert (told.state, told.throttle_events, told.is_throttled) == ("normal", 14, False)  # long ago
    assert gauge.read().state == "normal"
    plant(tmp_path, folder, core_throttle_count="4")
    told = gauge.read()
    assert (told.state, told.throttle_events, told.is_throttled) == ("hot", 15, True)
    assert gauge.read().state == "normal"


def test_a_clock_that_is_held_down_now(tmp_path: Path) -> None:
    plant(tmp_path, "class/thermal/cooling_device0", type="Fan", cur_state="3")
    plant(tmp_path, "class/thermal/cooling_device1", type="Processor", cur_state="0")
    gauge = HeatGauge(tmp_path)
    told = gauge.read()
    assert (told.state, told.warmest) == ("normal", None)
    assert "no sensor" in told.reason
    plant(tmp_path, "class/thermal/cooling_device1", cur_state="2")
    assert gauge.read().state == "hot"


def test_a_sensor_that_stops_answering_is_left_out(tmp_path: Path) -> None:
    coretemp(tmp_path, 70)
    gauge = HeatGauge(tmp_path)
    (tmp_path / "class/hwmon/hwmon3/temp1_input").write_text("")
    assert gauge.read() == Heat(state=None, reason="this system shows no sensor of its processor")


def test_a_machine_without_sensors(tmp_path: Path) -> None:
    assert HeatGauge(tmp_path / "none").read().reason == "this system shows no sensor of its processor"


class FakeNotify:
    """macOS's notify(3)."""

    def __init__(self, level: int, status: int = 0) -> None:
        self._level, self._status = level, status

    def notify_register_check(self, name: object, token: object) -> int:
        assert name is not None
        token._obj.value = 7  # type: ignore[attr-defined]
        return self._status

    def notify_get_state(self, token: ctypes.c_int, state: object) -> int:
        assert token.value == 7
        state._obj.value = self._level  # type: ignore[attr-defined]
        return 0

    def notify_cancel(self, token: ctypes.c_int) -> int:
        return 0


@pytest.mark.parametrize(("level", "state"), [(0, "normal"), (1, "hot"), (2, "hot"), (3, "critical"), (4, "critical")])
def test_macos_says_how_hot_it_is(
    system: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, level: int, state: str
) -> None:
    system("Darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeNotify(level))
    told = HeatGauge().read()
    assert (told.state, told.reason) == (state, f"thermal pressure {level}, of 0 to 4")


NOMINAL = "Note: No thermal warning level has been recorded\nNote: No performance warning level has been recorded\n"
SLOWED = "2026-01-01 10:00:00 +0100 CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\tCPU_Speed_Limit \t= 70\n"


@pytest.mark.parametrize(
    ("printed", "status", "state"),
    [
        (NOMINAL, 0, "normal"),
        (SLOWED, 0, "hot"),
        ("CPU_Speed_Limit = 100", 0, "normal"),
        ("", 0, None),
        (NOMINAL, 1, None),
    ],
)
def test_an_older_mac_says_how_much_it_is_slowed_down(
    system: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, printed: str, status: int, state: str | None
) -> None:
    system("Darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeNotify(0, status=1))
    done = subprocess.CompletedProcess(thermal_pressure._PMSET, status, printed.encode(), b"")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: done)
    told = HeatGauge().read()
    assert told.state == state
    assert told.reason


def test_a_mac_that_answers_nothing(system: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no such file")

    system("Darwin")
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    assert HeatGauge().read().state is None


def test_other_systems(system: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    system("FreeBSD")
    sensor = SimpleNamespace(label="", current=97.0, high=None, critical=105.0)
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: {"coretemp": [sensor]}, raising=False)
    told = HeatGauge().read()
    assert told.state == "normal"
    assert told.warmest == Sensor(name="coretemp", celsius=97.0, critical_celsius=105.0)
    system("Windows")
    monkeypatch.delattr(psutil, "sensors_temperatures")
    assert HeatGauge().read() == Heat(state=None, reason="Windows tells a program nothing of its heat")


def test_elsewhere_macos_is_not_asked() -> None:
    assert thermal_pressure.thermal_pressure() is None
    assert thermal_pressure.speed_limit_percent() is None


def test_states_go_from_good_to_bad() -> None:
    assert heat.STATES == ("normal", "hot", "critical")
