"""How warm the processor is, and from where on that is too warm.

Linux: Documentation/hwmon/sysfs-interface.rst and Documentation/driver-api/thermal/sysfs-api.rst. Only sensors of the
processor count; to read those of a disk may wake it.
"""

import re
from collections.abc import Callable
from pathlib import Path

import psutil
from msgspec import Struct

from localllm.devices.sensors.sysfs import names_in, read_int, read_text

HWMON, ZONES = Path("class/hwmon"), Path("class/thermal")  # below /sys
_CHIPS = re.compile(r"coretemp|k8temp|k10temp|zenpower|via_cputemp|cpu.*|soc.*|.*_cpu|scpi_sensors|macsmc_hwmon")
_ZONES = re.compile(r".*(cpu|soc|pkg|package|cluster).*", re.IGNORECASE)
_BOARDS = re.compile(r"acpitz")  # the firmware's, which is better than none
_WHOLE = re.compile(r"Package.*|Tctl|Tdie")  # where there is one of these, the cores' need not be read
_SANE_CELSIUS = range(1, 151)  # limits beyond these are fillers


class Sensor(Struct, frozen=True, kw_only=True):
    """A reading, with the limits that the sensor itself tells."""

    name: str
    celsius: float
    high_celsius: float | None = None
    critical_celsius: float | None = None


class _Place(Struct, frozen=True, kw_only=True):
    """A file to read from, in thousandths of a degree."""

    name: str
    path: Path
    high_celsius: float | None
    critical_celsius: float | None


class Thermometer:
    """The sensors of the processor: looked for once, then read."""

    def __init__(self, sys_path: Path) -> None:
        self._places = _chips(sys_path / HWMON) or _zones(sys_path / ZONES, _ZONES) or _zones(sys_path / ZONES, _BOARDS)

    def read(self) -> tuple[Sensor, ...]:
        """All that answer now."""
        readings = ((place, read_int(place.path)) for place in self._places)
        return tuple(
            Sensor(
                name=place.name,
                celsius=reading / 1000,
                high_celsius=place.high_celsius,
                critical_celsius=place.critical_celsius,
            )
            for place, reading in readings
            if reading is not None
        )


def other_temperatures() -> tuple[Sensor, ...]:
    """What psutil knows, on systems that are no Linux."""
    read: Callable[[], dict[str, list[object]]] | None = getattr(psutil, "sensors_temperatures", None)
    if read is None:
        return ()
    return tuple(
        Sensor(
            name=" ".join(filter(None, (chip, getattr(one, "label", "")))),
            celsius=float(getattr(one, "current", 0.0)),
            high_celsius=_sane(getattr(one, "high", None)),
            critical_celsius=_sane(getattr(one, "critical", None)),
        )
        for chip, found in read().items()
        for one in found
    )


def _chips(folder: Path) -> tuple[_Place, ...]:
    places = []
    for name in names_in(folder) or ():
        chip = read_text(folder / name / "name")
        if not _CHIPS.fullmatch(chip):
            continue
        inputs = [entry for entry in names_in(folder / name) or () if re.fullmatch(r"temp\d+_input", entry)]
        found = [_chip_place(folder / name / entry, chip) for entry in inputs]
        whole = [place for place in found if _WHOLE.fullmatch(place.name.removeprefix(chip).strip())]
        places += whole or found
    return tuple(places)


def _chip_place(path: Path, chip: str) -> _Place:
    def beside(ending: str) -> Path:
        return path.with_name(path.name.removesuffix("input") + ending)

    return _Place(
        name=" ".join(filter(None, (chip, read_text(beside("label"))))),
        path=path,
        high_celsius=_limit(beside("max")),
        critical_celsius=_limit(beside("crit")),
    )


def _zones(folder: Path, types: re.Pattern[str]) -> tuple[_Place, ...]:
    places = []
    for name in names_in(folder) or ():
        kind = read_text(folder / name / "type")
        if name.startswith("thermal_zone") and types.fullmatch(kind):
            trips = _trips(folder / name)
            high = min((celsius for trip, celsius in trips if trip in {"passive", "hot"}), default=None)
            critical = min((celsius for trip, celsius in trips if trip == "critical"), default=None)
            path = folder / name / "temp"
            places.append(_Place(name=kind, path=path, high_celsius=high, critical_celsius=critical))
    return tuple(places)


def _trips(zone: Path) -> list[tuple[str, float]]:
    """Kinds of trip points with their temperatures: passive slows the processor, critical ends all."""
    trips = []
    for entry in names_in(zone) or ():
        if re.fullmatch(r"trip_point_\d+_type", entry):
            celsius = _limit(zone / entry.replace("_type", "_temp"))
            if celsius is not None:
                trips.append((read_text(zone / entry), celsius))
    return trips


def _limit(path: Path) -> float | None:
    thousandths = read_int(path)
    return None if thousandths is None else _sane(thousandths / 1000)


def _sane(celsius: float | None) -> float | None:
    return celsius if celsius is not None and int(celsius) in _SANE_CELSIUS else None
