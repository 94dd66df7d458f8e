"""The machine: its processor, memory, power and heat, and why what is not known is not."""

import platform
import time

import psutil
from msgspec import Struct

from localllm.devices.container import memory_limit
from localllm.devices.contention import CoreMeter
from localllm.devices.cpu import available_memory_bytes, core_limits, processor_name, usable_cores
from localllm.devices.features import instructions
from localllm.devices.sensors.heat import Heat, HeatGauge
from localllm.devices.sensors.power import Power, PowerMode, read_power, read_power_mode

LISTEN_SECONDS = 0.05  # to what other programs take: the kernel counts in ticks of 10 ms or so


class CentralProcessor(Struct, frozen=True, kw_only=True):
    """The CPU, as far as this process may use it."""

    name: str
    architecture: str
    instructions: dict[str, bool | None]  # instruction sets; None: the system does not tell
    instructions_reason: str = ""  # why some are not known
    physical_cores: int | None  # None: the system does not tell
    logical_processors: int
    usable_cores: int  # physical ones within affinity and quota
    limits: tuple[str, ...] = ()  # why those are fewer
    others_cores: float | None = None  # that other programs keep busy now; None: not listened to


class Memory(Struct, frozen=True, kw_only=True):
    """What there is, in bytes."""

    total_bytes: int
    available_bytes: int  # that can be taken without swapping, within the container's limit
    limit_bytes: int | None = None  # of the container or service; None: it has none
    swap_total_bytes: int | None = None  # None: the system does not tell
    swap_free_bytes: int | None = None


class Machine(Struct, frozen=True, kw_only=True):
    """All of it, at one moment."""

    system: str
    cpu: CentralProcessor
    memory: Memory
    power: Power
    power_mode: PowerMode
    heat: Heat


def look(listen_seconds: float = LISTEN_SECONDS) -> Machine:
    """What it is now; takes `listen_seconds` and some milliseconds. 0: other programs are not listened to."""
    return Machine(
        system=f"{platform.system()} {platform.release()}".strip() or "unknown",
        cpu=_processor(_others_cores(listen_seconds) if listen_seconds > 0 else None),
        memory=_memory(),
        power=read_power(),
        power_mode=read_power_mode(),
        heat=HeatGauge().read(),
    )


def _processor(others_cores: float | None) -> CentralProcessor:
    told = instructions()
    return CentralProcessor(
        name=processor_name(),
        architecture=platform.machine(),
        instructions=told.sets,
        instructions_reason=told.reason,
        physical_cores=psutil.cpu_count(logical=False),
        logical_processors=psutil.cpu_count(logical=True) or 1,
        usable_cores=usable_cores(),
        limits=core_limits(),
        others_cores=others_cores,
    )


def _others_cores(seconds: float) -> float:
    meter = CoreMeter()
    time.sleep(seconds)
    return round(min(meter.others(), meter.cores), 2)  # in so short a time the count may be off by some ticks


def _memory() -> Memory:
    total_bytes = int(psutil.virtual_memory().total)
    limit = memory_limit(total_bytes)
    swap = _swap()
    return Memory(
        total_bytes=total_bytes,
        available_bytes=available_memory_bytes(),
        limit_bytes=limit.limit_bytes if limit else None,
        swap_total_bytes=swap[0] if swap else None,
        swap_free_bytes=swap[1] if swap else None,
    )


def _swap() -> tuple[int, int] | None:
    """All of it and what is free. psutil raises whatever goes wrong in a system's own way of telling."""
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError, psutil.Error):
        return None
    return int(swap.total), int(swap.free)
