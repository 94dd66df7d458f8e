"""The processor and memory that this process may really use."""

import os
import platform
import sys
from pathlib import Path
from types import ModuleType

import psutil

from localllm.devices.container import memory_limit, quota_cores
from localllm.devices.sensors.sysctl import sysctl_text
from localllm.devices.sensors.sysfs import read_text

_CPU_INFO = Path("/proc/cpuinfo")
_STATUS = Path("/proc/self/status")
_PROCESSORS = Path("/sys/devices/system/cpu")


def usable_cores() -> int:
    """Physical cores within this process's affinity and container quota; at least 1.

    Two hyper-threads of one core share the units that matrix products keep busy, so they count once.
    """
    cores = _cores_of(usable_processors())
    quota = quota_cores()
    return max(1, min(cores, -int(-quota // 1))) if quota else cores


def core_limits() -> tuple[str, ...]:
    """Why `usable_cores` are fewer than the machine has, a part of a sentence each; empty where they are all."""
    limits = []
    logical, allowed = psutil.cpu_count(logical=True) or 0, len(usable_processors())
    if allowed < logical:
        limits.append(f"this process may run on {allowed} of {logical} logical processors (affinity)")
    quota = quota_cores()
    if quota and quota < _cores_of(usable_processors()):
        limits.append(f"its container or service may use {quota:g} (quota)")
    return tuple(limits)


def usable_processors() -> list[int]:
    """Numbers of the logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def available_memory_bytes() -> int:
    """Memory that can be taken without swapping, within the container's limit if there is one."""
    memory = psutil.virtual_memory()
    limit = memory_limit(int(memory.total))
    return min(int(memory.available), limit.free_bytes) if limit else int(memory.available)


def peak_memory_bytes() -> int:
    """The most memory this process ever held resident.

    On Linux that is VmHWM (proc(5)): getrusage counts what the parent held when it started this process (vfork).
    """
    for line in read_text(_STATUS).splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024  # "123456 kB"
    info = psutil.Process().memory_info()
    windows_peak = getattr(info, "peak_wset", None)
    if windows_peak is not None:
        return int(windows_peak)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere


def processor_name() -> str:
    """What the processor calls itself, such as AMD EPYC 7B13; its architecture where the system does not say."""
    named = _linux_name() or sysctl_text("machdep.cpu.brand_string") or _windows_name()
    return named or platform.processor() or platform.machine() or "unknown"


def _linux_name() -> str:
    """On ARM there is no name, but numbers of its maker and part, for which `lscpu` has tables."""
    fields: dict[str, str] = {}
    for line in read_text(_CPU_INFO).splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    if fields.get("model name"):
        return fields["model name"]
    if "CPU implementer" in fields and "CPU part" in fields:
        return f"{platform.machine()} (implementer {fields['CPU implementer']}, part {fields['CPU part']})"
    return ""


def _windows_name() -> str:
    try:
        import winreg
    except ImportError:  # any other system
        return ""
    return _registry_text(winreg, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0", "ProcessorNameString")


def _registry_text(winreg: ModuleType, key: str, name: str) -> str:
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return str(winreg.QueryValueEx(opened, name)[0]).strip()
    except OSError:
        return ""


def _cores_of(processors: list[int]) -> int:
    """Physical cores that these logical processors belong to, at least 1; where Linux does not say so, as many of all
    cores as they are of all logical processors."""
    siblings = {read_text(_PROCESSORS / f"cpu{number}" / "topology" / "thread_siblings_list") for number in processors}
    if siblings and "" not in siblings:
        return len(siblings)
    logical = psutil.cpu_count(logical=True) or len(processors)
    physical = psutil.cpu_count(logical=False) or logical
    return max(1, round(len(processors) * physical / logical))
