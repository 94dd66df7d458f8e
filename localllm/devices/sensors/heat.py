"""Whether the processor is too warm, by what its system tells: temperatures, throttling, or a level."""

import platform
from pathlib import Path
from typing import Literal

from msgspec import Struct

from localllm.devices.sensors.temperatures import Sensor, Thermometer, other_temperatures
from localllm.devices.sensors.thermal_pressure import speed_limit_percent, thermal_pressure
from localllm.devices.sensors.throttling import ThrottleMeter

SYS = Path("/sys")
HeatState = Literal["normal", "hot", "critical"]
STATES: tuple[HeatState, ...] = ("normal", "hot", "critical")  # from good to bad

# For sensors that tell no limits: below what any processor of a laptop or desktop stands (95 °C and more).
ASSUMED_HIGH_CELSIUS, ASSUMED_CRITICAL_CELSIUS = 90.0, 100.0
MARGIN_CELSIUS = 5.0  # below the critical temperature, for sensors whose high one is no lower
_HEAVY = 3  # from this level of thermal pressure on, macOS protects itself


class Heat(Struct, frozen=True, kw_only=True):
    """How warm this machine is. A `state` of None is not known, and `reason` says why."""

    state: HeatState | None
    warmest: Sensor | None = None  # against its own limits
    throttle_events: int | None = None  # since the system started; None: not counted here
    is_throttled: bool = False  # now, or since the last reading
    reason: str = ""


class HeatGauge:
    """Reads the state again and again, quickly: what can be read is looked for once."""

    def __init__(self, sys_path: Path = SYS) -> None:
        self._system = platform.system()
        if self._system == "Linux":
            self._thermometer, self._throttle = Thermometer(sys_path), ThrottleMeter(sys_path)

    def read(self) -> Heat:
        """The state of now; that it was throttled is seen from the second reading on."""
        if self._system == "Linux":
            events, is_throttled = self._throttle.read()
            return _judged(self._thermometer.read(), events, is_throttled, self._throttle.is_known)
        return _macos_heat() if self._system == "Darwin" else _other_heat(self._system)


def sensor_state(sensor: Sensor) -> HeatState:
    """Against the limits that it tells, else those assumed."""
    high, critical = _limits(sensor)
    if sensor.celsius >= critical:
        return "critical"
    return "hot" if sensor.celsius >= high else "normal"


def _limits(sensor: Sensor) -> tuple[float, float]:
    high, critical = sensor.high_celsius, sensor.critical_celsius
    if critical is None:
        critical = ASSUMED_CRITICAL_CELSIUS if high is None else max(ASSUMED_CRITICAL_CELSIUS, high + MARGIN_CELSIUS)
        high = ASSUMED_HIGH_CELSIUS if high is None else high
    if high is None or high >= critical:
        high = critical - MARGIN_CELSIUS
    return high, critical


def _badness(sensor: Sensor) -> tuple[int, float]:
    """The higher the worse."""
    return STATES.index(sensor_state(sensor)), sensor.celsius - _limits(sensor)[1]


def _judged(sensors: tuple[Sensor, ...], events: int | None, is_throttled: bool, tells_throttling: bool) -> Heat:
    """The sensor that is worst off decides. What was throttled is hot at least, whatever the sensors show."""
    warmest = max(sensors, key=_badness, default=None)
    if warmest is None and not tells_throttling:
        return Heat(state=None, reason="this system shows no sensor of its processor")
    state: HeatState = sensor_state(warmest) if warmest else "normal"
    if is_throttled and state == "normal":
        state = "hot"
    reason = "" if warmest else "this system shows no sensor of its processor, but whether it was slowed down"
    return Heat(state=state, warmest=warmest, throttle_events=events, is_throttled=is_throttled, reason=reason)


def _macos_heat() -> Heat:
    level = thermal_pressure()
    if level is not None:
        state: HeatState = "critical" if level >= _HEAVY else "hot" if level else "normal"
        return Heat(state=state, is_throttled=level > 1, reason=f"thermal pressure {level}, of 0 to 4")
    limit = speed_limit_percent()
    if limit is None:
        return Heat(state=None, reason="macOS tells neither its thermal pressure nor the limit of its clock")
    is_slowed = limit < 100
    return Heat(
        state="hot" if is_slowed else "normal", is_throttled=is_slowed, reason=f"the clock may run at {limit} %"
    )


def _other_heat(system: str) -> Heat:
    sensors = other_temperatures()
    if not sensors:
        return Heat(state=None, reason=f"{system or 'this system'} tells a program nothing of its heat")
    return _judged(sensors, None, is_throttled=False, tells_throttling=False)
