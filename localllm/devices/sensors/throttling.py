"""Whether the processor was slowed down because of heat, as Linux counts it."""

import re
from pathlib import Path

from localllm.devices.sensors.sysfs import names_in, read_int, read_text

PROCESSORS, ZONES = Path("devices/system/cpu"), Path("class/thermal")  # below /sys
# Of Intel's processors: Documentation/ABI/testing/sysfs-devices-system-cpu
_COUNTERS = ("thermal_throttle/package_throttle_count", "thermal_throttle/core_throttle_count")
_COOLING = re.compile(r"Processor|cpufreq.*|cpu-.*|thermal-cpufreq.*")  # devices that cool by slowing down


class ThrottleMeter:
    """Counters and cooling devices: looked for once, then read."""

    def __init__(self, sys_path: Path) -> None:
        folder = sys_path / PROCESSORS
        names = [name for name in names_in(folder) or () if re.fullmatch(r"cpu\d+", name)]
        counters = [folder / name / counter for name in names for counter in _COUNTERS]
        self._counters = [path for path in counters if read_int(path) is not None]
        cooling = [sys_path / ZONES / name for name in names_in(sys_path / ZONES) or () if name.startswith("cooling")]
        self._cooling = [path / "cur_state" for path in cooling if _COOLING.fullmatch(read_text(path / "type"))]
        self._before: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether this system tells anything of it."""
        return bool(self._counters or self._cooling)

    def read(self) -> tuple[int | None, bool]:
        """How often it was slowed down since the system started, if that is counted; and whether it was since the last
        reading, or is now."""
        events = sum(read_int(path) or 0 for path in self._counters) if self._counters else None
        has_risen = events is not None and self._before is not None and events > self._before
        self._before = events
        return events, has_risen or any((read_int(path) or 0) > 0 for path in self._cooling)
