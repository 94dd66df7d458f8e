"""The processor and memory that this process may really use."""

import os

import psutil

_CPU_INFO = "/proc/cpuinfo"
_STATUS = "/proc/self/status"
_CGROUP_CPU = "/sys/fs/cgroup/cpu.max"
_CGROUP_MEMORY = "/sys/fs/cgroup/memory.max"
_CGROUP_MEMORY_USED = "/sys/fs/cgroup/memory.current"


def usable_cores() -> int:
    """Physical cores within this process's affinity and container quota; at least 1.

    Two hyper-threads of one core share the units that matrix products keep busy, so they count once.
    """
    affinity = len(usable_processors())
    logical = psutil.cpu_count(logical=True) or affinity
    physical = psutil.cpu_count(logical=False) or logical
    cores = max(1, round(affinity * physical / logical))
    quota = _cgroup_cores()
    return max(1, min(cores, quota)) if quota else cores


def usable_processors() -> list[int]:
    """Numbers of the logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def available_memory_bytes() -> int:
    """Memory that can be taken without swapping, within the container's limit if there is one."""
    available = int(psutil.virtual_memory().available)
    limit, used = _read_int(_CGROUP_MEMORY), _read_int(_CGROUP_MEMORY_USED)
    return min(available, max(0, limit - used)) if limit and used else available


def peak_memory_bytes() -> int:
    """The most memory this process ever held resident.

    On Linux that is VmHWM (proc(5)): getrusage counts what the parent held when it started this process (vfork).
    """
    for line in _read(_STATUS).splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024  # "123456 kB"
    info = psutil.Process().memory_info()
    windows_peak = getattr(info, "peak_wset", None)
    if windows_peak is not None:
        return int(windows_peak)
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere


def processor_name() -> str:
    """What the processor calls itself, such as AMD EPYC 7B13; its architecture where the system does not say."""
    import platform

    for line in _read(_CPU_INFO).splitlines():  # Linux on x86; on ARM there is no such line
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _cgroup_cores() -> int | None:
    """Whole cores of a cgroup v2 CPU quota, rounded up; None without one."""
    text = _read(_CGROUP_CPU)
    quota, _, period = text.partition(" ")
    if not quota.isdigit() or not period.strip().isdigit():
        return None
    return -(-int(quota) // int(period))


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _read_int(path: str) -> int | None:
    text = _read(path)
    return int(text) if text.isdigit() else None
