"""A fake of TVM: devices that are there or not, as FAKE_TVM_DEVICES says (cpu, or such as cuda,cuda,cpu)."""

import os
from collections import Counter

_KNOWN = ("cpu", "cuda", "rocm", "metal", "vulkan", "opencl")


class Device:
    """A device, whether it is there or not."""

    def __init__(self, kind: str, index: int) -> None:
        self.kind, self.index = kind, index

    @property
    def exist(self) -> bool:
        there = Counter(os.environ.get("FAKE_TVM_DEVICES", "cpu").split(","))
        return self.kind == "cpu" in there or self.index < there[self.kind]


def device(dev_type: str, index: int = 0) -> Device:
    """As TVM's: an unknown kind is an error, an absent device is none yet."""
    if dev_type not in _KNOWN:
        raise ValueError(f"Unknown device type {dev_type}")
    return Device(dev_type, index)
