"""What is spared on battery, for heat, or for quiet: threads, and guesses that may be computed in vain.

By what is preferred, on mains and on battery alike where one row has one line (docs/devices.md):

    prefer    plugged in: normal, hot, critical    on battery: normal, hot, critical
    speed     all, all, half                       all, all, half
    battery   all, half, a quarter                 half, a quarter, a quarter
    quiet     half, a quarter, a quarter           half, a quarter, a quarter

These shares are a decision, not a measurement. What is not known counts as plugged in and not hot.
"""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from localllm.devices.sensors.heat import STATES, Heat, HeatGauge
from localllm.devices.sensors.power import Power, read_power
from localllm.types import Preference

READ_SECONDS = 5.0  # between two looks
COST_SHARE = 0.01  # of the time may go to looking: some firmware takes long to answer
HOLD_SECONDS = 30.0  # a machine that was hot is taken for hot so much longer, or it would heat up again at once

_Shares = Mapping[Preference, tuple[int, int, int]]  # of the threads, one in so many: normal, hot, critical
_PLUGGED: _Shares = MappingProxyType({"speed": (1, 1, 2), "battery": (1, 2, 4), "quiet": (2, 4, 4)})
_ON_BATTERY: _Shares = MappingProxyType({"speed": (1, 1, 2), "battery": (2, 4, 4), "quiet": (2, 4, 4)})
_WORDS = MappingProxyType({1: "all", 2: "half", 4: "a quarter"})


class Thrift:
    """Decides how much of the machine to use, and looks at it again every few seconds. Not for several threads."""

    def __init__(
        self,
        prefer: Preference,
        *,
        read_power: Callable[[], Power] = read_power,
        read_heat: Callable[[], Heat] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefer = prefer
        self._read_power = read_power
        self._read_heat = read_heat or HeatGauge().read
        self._clock = clock
        self._divisor = 1
        self._reason = ""
        self._next_look = clock()  # at once
        self._heat, self._heat_until = 0, clock()  # index of STATES

    def threads(self, most: int) -> int:
        """How many of `most` to use now, at least 1."""
        self._refresh()
        return max(1, most // self._divisor)

    @property
    def spares_guessing(self) -> bool:
        """Whether nothing should be computed now that may be in vain."""
        self._refresh()
        return self._divisor > 1

    @property
    def reason(self) -> str:
        """What is spared and why, a sentence without its full stop; "" where nothing is."""
        self._refresh()
        return self._reason

    def _refresh(self) -> None:
        now = self._clock()
        if now < self._next_look:
            return
        # Where power changes nothing, it is not asked for: the firmware of some machines is slow to tell.
        power = self._read_power() if _PLUGGED[self._prefer] != _ON_BATTERY[self._prefer] else None
        heat = self._read_heat()
        self._hold(STATES.index(heat.state or "normal"), now)
        is_on_battery = power is not None and power.is_on_battery
        self._divisor = (_ON_BATTERY if is_on_battery else _PLUGGED)[self._prefer][self._heat]
        self._reason = self._words(power if is_on_battery else None)
        done = self._clock()
        self._next_look = done + max(READ_SECONDS, (done - now) / COST_SHARE)

    def _hold(self, heat: int, now: float) -> None:
        """Worse counts at once, better when it has lasted."""
        if heat >= self._heat or now >= self._heat_until:
            self._heat, self._heat_until = heat, now + HOLD_SECONDS

    def _words(self, battery: Power | None) -> str:
        if self._divisor == 1:
            return ""
        causes = []
        if battery is not None:
            level = f" ({battery.percent} %)" if battery.percent is not None else ""
            causes.append(f"on battery{level}")
        if self._heat:
            causes.append(f"the processor is {'hot' if self._heat == 1 else 'critically hot'}")
        told = f"{_WORDS[self._divisor]} of the threads, and no guessing ahead, by --prefer {self._prefer}"
        return f"{told}: {' and '.join(causes)}" if causes else told
