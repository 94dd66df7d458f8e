"""What an engine can compute on here, in words and numbers."""

from typing import Literal

from msgspec import Struct

# An igpu shares the memory of the CPU; an accelerator is a library for the CPU, such as BLAS; "": nobody knows.
DeviceKind = Literal["cpu", "gpu", "igpu", "npu", "accelerator", ""]


class Device(Struct, frozen=True, kw_only=True):
    """A processor of some kind."""

    name: str  # as the engine calls it, such as CPU or CUDA0
    kind: DeviceKind = ""
    description: str = ""  # as it calls itself
    memory_free_bytes: int | None = None
    memory_total_bytes: int | None = None


class BackEnd(Struct, frozen=True, kw_only=True):
    """A part of an engine that is made for one kind of device."""

    name: str
    is_registered: bool  # whether the engine was built with it
    is_usable: bool  # whether something of it runs here
    devices: tuple[Device, ...] = ()
    reason: str = ""  # why it is usable, or why not
    remedy: str = ""  # what would change that: a package, a driver, another machine


class EngineReport(Struct, frozen=True, kw_only=True):
    """An engine on this machine."""

    engine: str
    is_usable: bool
    build: str = ""
    has_gpu: bool = False  # whether it computes on something other than the CPU here
    reason: str = ""  # why it is not usable
    remedy: str = ""
    back_ends: tuple[BackEnd, ...] = ()
