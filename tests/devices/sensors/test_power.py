"""Batteries of planted laptops, and of other systems by psutil."""

import platform
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from localllm.devices.sensors.power import Battery, read_power, read_power_mode

BAT = {"TYPE": "Battery", "PRESENT": "1"}
AC_ON, AC_OFF = {"TYPE": "Mains", "ONLINE": "1"}, {"TYPE": "Mains", "ONLINE": "0"}


@pytest.fixture(autouse=True)
def on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")


def planted(folder: Path, **supplies: dict[str, str]) -> Path:
    for name, fields in supplies.items():
        (folder / name).mkdir()
        lines = [f"POWER_SUPPLY_{key}={value}" for key, value in {"NAME": name, **fields}.items()]
        (folder / name / "uevent").write_text("DEVTYPE=power_supply\n" + "\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.mark.parametrize(
    ("supplies", "is_plugged", "percent", "states"),
    [
        ({"BAT0": BAT | {"STATUS": "Discharging", "CAPACITY": "40"}, "AC": AC_OFF}, False, 40, ["discharging"]),
        ({"BAT0": BAT | {"STATUS": "Discharging", "CAPACITY": "40"}}, False, 40, ["discharging"]),
        ({"BAT0": BAT | {"STATUS": "Charging", "CAPACITY": "55"}, "AC": AC_ON}, True, 55, ["charging"]),
        ({"BAT0": BAT | {"STATUS": "Charging", "CAPACITY": "55"}}, True, 55, ["charging"]),
        ({"BAT0": BAT | {"STATUS": "Full", "CAPACITY": "100"}, "AC": AC_ON}, True, 100, ["full"]),
        ({"BAT0": BAT | {"STATUS": "Full", "CAPACITY": "100"}, "AC": AC_OFF}, False, 100, ["full"]),
        ({"BAT0": BAT | {"STATUS": "Not charging", "CAPACITY": "80"}, "AC": AC_ON}, True, 80, ["idle"]),
        # a charger too weak for what is drawn
        ({"BAT0": BAT | {"STATUS": "Discharging", "CAPACITY": "80"}, "AC": AC_ON}, True, 80, ["discharging"]),
        # one of several sockets
        (
            {
                "BAT0": BAT | {"STATUS": "Unknown", "CAPACITY": "80"},
                "ucsi1": {"TYPE": "USB", "ONLINE": "0"},
                "ucsi2": {"TYPE": "USB", "ONLINE": "1"},
            },
            True,
            80,
            ["unknown"],
        ),
        ({"BAT0": BAT | {"STATUS": "Unknown", "CAPACITY": "80"}}, None, 80, ["unknown"]),
        ({"ups": {"TYPE": "UPS", "STATUS": "Discharging", "CAPACITY": "90"}}, False, 90, ["discharging"]),
        ({"BAT0": BAT | {"STATUS": "Charging", "CHARGE_NOW": "25", "CHARGE_FULL": "100"}}, True, 25, ["charging"]),
        ({"BAT0": BAT | {"STATUS": "Discharging"}}, False, None, ["discharging"]),
        ({"BAT0": BAT | {"STATUS": "Full", "CAPACITY": "104"}}, True, 100, ["full"]),
    ],
)  # fmt: skip
def test_laptops(
    tmp_path: Path,
    supplies: dict[str, dict[str, str]],
    is_plugged: bool | None,
    percent: int | None,
    states: list[str],
) -> None:
    power = read_power(planted(tmp_path, **supplies))
    assert (power.has_battery, power.is_plugged, power.percent) == (True, is_plugged, percent)
    assert [battery.state for battery in power.batteries] == states
    assert bool(power.reason) == (is_plugged is None)
    assert power.is_on_battery == (is_plugged is False)


def test_two_batteries_count_by_what_they_hold(tmp_path: Path) -> None:
    small = BAT | {"STATUS": "Full", "CAPACITY": "100", "ENERGY_NOW": "20000000", "ENERGY_FULL": "20000000"}
    large = BAT | {"STATUS": "Discharging", "CAPACITY": "50", "ENERGY_NOW": "40000000", "ENERGY_FULL": "80000000"}
    power = read_power(planted(tmp_path, BAT0=small, BAT1=large, AC=AC_OFF))
    assert (power.is_plugged, power.percent) == (False, 60)
    assert power.batteries == (
        Battery(name="BAT0", percent=100, state="full"),
        Battery(name="BAT1", percent=50, state="discharging"),
    )


def test_batteries_in_different_units_count_alike(tmp_path: Path) -> None:
    first = BAT | {"STATUS": "Full", "CAPACITY": "100", "ENERGY_NOW": "20000000", "ENERGY_FULL": "20000000"}
    second = BAT | {"STATUS": "Discharging", "CAPACITY": "50", "CHARGE_NOW": "4000", "CHARGE_FULL": "8000"}
    assert read_power(planted(tmp_path, BAT0=first, BAT1=second, AC=AC_OFF)).percent == 75


@pytest.mark.parametrize(
    "supplies",
    [
        {},
        {"AC": AC_ON},
        {"mouse": {"TYPE": "Battery", "SCOPE": "Device", "STATUS": "Discharging", "CAPACITY": "5"}},
        {"BAT1": {"TYPE": "Battery", "PRESENT": "0", "STATUS": "Unknown"}, "AC": AC_ON},
    ],
)
def test_machines_without_a_battery(tmp_path: Path, supplies: dict[str, dict[str, str]]) -> None:
    power = read_power(planted(tmp_path, **supplies))
    assert (power.has_battery, power.is_plugged, power.batteries, power.reason) == (False, True, (), "")


def test_older_kernels_tell_the_type_in_a_file_of_its_own(tmp_path: Path) -> None:
    planted(tmp_path, BAT0={"STATUS": "Discharging", "CAPACITY": "40"})
    (tmp_path / "BAT0" / "type").write_text("Battery\n")
    assert read_power(tmp_path).is_on_battery


def test_a_supply_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "BAT0").mkdir()
    assert read_power(tmp_path).has_battery is False


def test_a_system_without_the_folder_tells_nothing(tmp_path: Path) -> None:
    power = read_power(tmp_path / "none")
    assert (power.has_battery, power.is_plugged, power.is_on_battery) == (None, None, False)
    assert power.reason == f"this system has no {tmp_path / 'none'}"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, (False, True, None)),
        (SimpleNamespace(percent=39.6, power_plugged=False), (True, False, 40)),
        (SimpleNamespace(percent=100, power_plugged=True), (True, True, 100)),
        (SimpleNamespace(percent=255, power_plugged=True), (True, True, None)),
        (SimpleNamespace(percent=50, power_plugged=None), (True, None, 50)),
    ],
)
def test_other_systems(
    monkeypatch: pytest.MonkeyPatch, told: object, expected: tuple[bool, bool | None, int | None]
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(psutil, "sensors_battery", lambda: told, raising=False)
    power = read_power()
    assert (power.has_battery, power.is_plugged, power.percent) == expected
    assert bool(power.reason) == (expected[1] is None)


def test_a_system_that_psutil_knows_no_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "SunOS")
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    assert read_power().reason == "SunOS tells nothing of batteries"


def test_what_the_system_was_told_to_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, governor = tmp_path / "profile", tmp_path / "governor"
    assert "neither" in read_power_mode(profile, governor).reason
    governor.write_text("powersave\n")
    assert read_power_mode(profile, governor).governor == "powersave"
    profile.write_text("low-power\n")
    mode = read_power_mode(profile, governor)
    assert (mode.profile, mode.governor, mode.reason) == ("low-power", "powersave", "")
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    assert read_power_mode(profile, governor).reason == "Windows is not asked"
