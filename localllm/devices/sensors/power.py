"""Whether this machine runs on a battery, how full that is, and what its system was told to save."""

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Protocol

import psutil
from msgspec import Struct

from localllm.devices.sensors.sysfs import names_in, read_text

SUPPLIES = Path("/sys/class/power_supply")  # Documentation/ABI/testing/sysfs-class-power
PROFILE = Path("/sys/firmware/acpi/platform_profile")  # low-power, balanced, performance and others
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

BatteryState = Literal["charging", "discharging", "full", "idle", "unknown"]
_STATES: Mapping[str, BatteryState] = {
    "Charging": "charging",
    "Discharging": "discharging",
    "Full": "full",
    "Not charging": "idle",
}
_BATTERIES = frozenset({"Battery", "UPS"})
_FULL_PERCENT = 100


class _Told(Protocol):
    """A battery, as psutil tells of it."""

    percent: float
    power_plugged: bool | None


class Battery(Struct, frozen=True, kw_only=True):
    """One that feeds the machine; those of mice and headsets are none."""

    name: str
    percent: int | None = None
    state: BatteryState = "unknown"
    is_ups: bool = False  # beside the machine, not in it


class Power(Struct, frozen=True, kw_only=True):
    """What feeds this machine. None: not known, and `reason` says why."""

    has_battery: bool | None
    is_plugged: bool | None  # a machine without a battery is
    percent: int | None = None  # of all batteries together
    batteries: tuple[Battery, ...] = ()
    reason: str = ""

    @property
    def is_on_battery(self) -> bool:
        """Whether it is known to be."""
        return self.is_plugged is False


class PowerMode(Struct, frozen=True, kw_only=True):
    """What the system was told to save; "" where nothing says so."""

    profile: str = ""  # of the firmware, such as low-power
    governor: str = ""  # of the processor's clock, such as powersave
    reason: str = ""  # why neither is known


def read_power(supplies: Path = SUPPLIES) -> Power:
    """The state of now; quick enough to be asked every few seconds."""
    if platform.system() == "Linux":
        return _linux_power(supplies)
    sensor = getattr(psutil, "sensors_battery", None)  # missing on systems that psutil knows no way on
    return _other_power(sensor()) if sensor else _unknown(f"{platform.system()} tells nothing of batteries")


def read_power_mode(profile: Path = PROFILE, governor: Path = GOVERNOR) -> PowerMode:
    """What Linux shows of it."""
    if platform.system() != "Linux":
        return PowerMode(reason=f"{platform.system() or 'this system'} is not asked")
    told = PowerMode(profile=read_text(profile), governor=read_text(governor))
    if told.profile or told.governor:
        return told
    return PowerMode(reason="this system has neither a power profile nor a clock to govern")


def _unknown(reason: str) -> Power:
    return Power(has_battery=None, is_plugged=None, reason=reason)


def _linux_power(folder: Path) -> Power:
    names = names_in(folder)
    if names is None:
        return _unknown(f"this system has no {folder}")
    supplies = [_supply(folder / name) for name in names]
    feeding = [one for one in supplies if one.get("SCOPE") != "Device" and one.get("PRESENT", "1") != "0"]
    batteries = tuple(_battery(one) for one in feeding if one["TYPE"] in _BATTERIES)
    online = [one["ONLINE"] for one in feeding if one["TYPE"] not in _BATTERIES and "ONLINE" in one]
    if not batteries:
        return Power(has_battery=False, is_plugged=True)
    is_plugged = _is_plugged(batteries, online)
    return Power(
        has_battery=True,
        is_plugged=is_plugged,
        percent=_percent(feeding, batteries),
        batteries=batteries,
        reason="" if is_plugged is not None else "no battery and no supply says whether it is plugged in",
    )


def _supply(folder: Path) -> dict[str, str]:
    """Its properties, from one file: to read each alone would ask the battery again and again."""
    fields = {}
    for line in read_text(folder / "uevent").splitlines():
        name, _, value = line.partition("=")
        fields[name.removeprefix("POWER_SUPPLY_")] = value.strip()
    fields.setdefault("NAME", folder.name)
    if "TYPE" not in fields:  # older kernels
        fields["TYPE"] = read_text(folder / "type")
    return fields


def _battery(fields: Mapping[str, str]) -> Battery:
    percent = _number(fields.get("CAPACITY"))
    if percent is None:
        percent = _share(_stored(fields))
    return Battery(
        name=fields["NAME"],
        percent=None if percent is None else max(0, min(100, percent)),
        state=_STATES.get(fields.get("STATUS", ""), "unknown"),
        is_ups=fields["TYPE"] == "UPS",
    )


def _is_plugged(batteries: tuple[Battery, ...], online: list[str]) -> bool | None:
    """A supply that is online decides, though a battery may be drained beside it."""
    states = {battery.state for battery in batteries}
    if any(value not in {"0", ""} for value in online) or "charging" in states:
        return True
    if online or "discharging" in states:
        return False
    return None if "unknown" in states else True


def _percent(supplies: Iterable[Mapping[str, str]], batteries: tuple[Battery, ...]) -> int | None:
    """By what they hold, where all say so alike; else the mean."""
    stored = [_stored(one) for one in supplies if one["TYPE"] in _BATTERIES]
    pairs = [pair for pair in stored if pair]
    if len(pairs) == len(stored) > 1 and len({unit for unit, _, _ in pairs}) == 1:
        return _share(("", sum(now for _, now, _ in pairs), sum(full for _, _, full in pairs)))
    known = [battery.percent for battery in batteries if battery.percent is not None]
    return round(sum(known) / len(known)) if known else None


def _stored(fields: Mapping[str, str]) -> tuple[str, int, int] | None:
    """What a battery holds and can hold, in µWh (ENERGY) or µAh (CHARGE)."""
    for unit in ("ENERGY", "CHARGE"):
        now, full = _number(fields.get(f"{unit}_NOW")), _number(fields.get(f"{unit}_FULL"))
        if now is not None and full:
            return unit, now, full
    return None


def _share(stored: tuple[str, int, int] | None) -> int | None:
    return max(0, min(100, round(100 * stored[1] / stored[2]))) if stored else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _other_power(told: _Told | None) -> Power:
    """The answer of `psutil.sensors_battery`, of which None means that there is no battery."""
    if told is None:
        return Power(has_battery=False, is_plugged=True)
    percent = round(told.percent) if 0 <= told.percent <= _FULL_PERCENT else None  # Windows: 255 is not known
    state: BatteryState = "discharging" if told.power_plugged is False else "unknown"
    return Power(
        has_battery=True,
        is_plugged=told.power_plugged,
        percent=percent,
        batteries=(Battery(name="battery", percent=percent, state=state),),
        reason="" if told.power_plugged is not None else "the system does not say whether it is plugged in",
    )
