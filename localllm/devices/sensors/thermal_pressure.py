"""How hot macOS finds itself. It shows no temperatures, but says how much it slows down for them."""

import ctypes
import platform
import re
import subprocess

# kOSThermalNotificationPressureLevelName, OSThermalNotification.h: the state is 0 nominal, 1 moderate, 2 heavy,
# 3 trapping, 4 sleeping.
_NAME = b"com.apple.system.thermalpressurelevel"
_PMSET = ("/usr/bin/pmset", "-g", "therm")
_PMSET_SECONDS = 5.0


def thermal_pressure() -> int | None:
    """0 to 4; None where it cannot be asked for. `notify(3)` of the system's library, which starts no program."""
    if platform.system() != "Darwin":
        return None
    try:
        return _notified(ctypes.CDLL(None))
    except (OSError, AttributeError):
        return None


def _notified(library: ctypes.CDLL) -> int | None:
    token = ctypes.c_int()
    if library.notify_register_check(ctypes.c_char_p(_NAME), ctypes.byref(token)):
        return None
    state = ctypes.c_uint64()
    failed = library.notify_get_state(token, ctypes.byref(state))
    library.notify_cancel(token)
    return None if failed else int(state.value)


def speed_limit_percent() -> int | None:
    """What `pmset -g therm` says of the clock on a Mac with a processor of Intel: 100 where nothing was slowed down;
    None where it cannot be asked."""
    if platform.system() != "Darwin":
        return None
    try:
        told = subprocess.run(
            _PMSET, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PMSET_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return limit_of(told.stdout.decode("utf-8", "replace")) if told.returncode == 0 else None


def limit_of(text: str) -> int | None:
    """CPU_Speed_Limit in what `pmset` prints; 100 where it has only notes that nothing was recorded."""
    found = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", text)
    if found:
        return int(found[1])
    return 100 if "no thermal warning" in text.lower() else None
