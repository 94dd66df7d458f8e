"""Instruction sets of the processor that matrix products are written for, and who says that it has them."""

import ctypes
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct

from localllm.devices.sensors.sysctl import sysctl_flag
from localllm.devices.sensors.sysfs import read_text

CPU_INFO = Path("/proc/cpuinfo")

Table = Mapping[
    str, tuple[str, ...]
]  # instruction set to the names that a system has for it, all of which must be there

# Flags of Linux (arch/x86/include/asm/cpufeatures.h). AVX-512 is the part that ggml builds for (GGML_AVX512).
_X86_LINUX: Table = MappingProxyType(
    {
        "AVX2": ("avx2",),
        "FMA": ("fma",),
        "F16C": ("f16c",),
        "AVX-VNNI": ("avx_vnni",),
        "AVX-512": ("avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"),
        "AVX-512 VNNI": ("avx512_vnni",),
        "AVX-512 BF16": ("avx512_bf16",),
        "AMX INT8": ("amx_tile", "amx_int8"),
        "AMX BF16": ("amx_tile", "amx_bf16"),
    }
)
# https://docs.kernel.org/arch/arm64/elf_hwcaps.html
_ARM_LINUX: Table = MappingProxyType(
    {
        "NEON": ("asimd",),
        "FP16": ("asimdhp",),
        "dotprod": ("asimddp",),
        "i8mm": ("i8mm",),
        "BF16": ("bf16",),
        "SVE": ("sve",),
        "SVE2": ("sve2",),
        "SME": ("sme",),
    }
)
# https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_instruction_set_characteristics
_X86_MACOS: Table = MappingProxyType(
    {
        "AVX2": ("hw.optional.avx2_0",),
        "FMA": ("hw.optional.fma",),
        "F16C": ("hw.optional.f16c",),
        "AVX-512": tuple(f"hw.optional.avx512{part}" for part in ("f", "cd", "vl", "dq", "bw")),
        "AVX-512 VNNI": ("hw.optional.avx512vnni",),
    }
)
_ARM_MACOS: Table = MappingProxyType(
    {
        "NEON": ("hw.optional.AdvSIMD",),
        "FP16": ("hw.optional.arm.FEAT_FP16",),
        "dotprod": ("hw.optional.arm.FEAT_DotProd",),
        "i8mm": ("hw.optional.arm.FEAT_I8MM",),
        "BF16": ("hw.optional.arm.FEAT_BF16",),
        "SME": ("hw.optional.arm.FEAT_SME",),
    }
)
# PF_… of winnt.h, for IsProcessorFeaturePresent
_X86_WINDOWS = MappingProxyType({"AVX2": 40, "AVX-512": 41})
_ARM_WINDOWS = MappingProxyType({"NEON": 19, "dotprod": 43, "SVE": 46, "SVE2": 47, "i8mm": 66, "FP16": 67, "BF16": 68})


class Instructions(Struct, frozen=True, kw_only=True):
    """What is worth knowing of this architecture: True, False, or None where the system does not tell."""

    sets: dict[str, bool | None]
    reason: str = ""  # why some are not known


def instructions(
    *,
    system: str = "",
    machine: str = "",
    cpu_info: Path = CPU_INFO,
    flag: Callable[[str], bool | None] = sysctl_flag,
    is_present: Callable[[int], bool] | None = None,
) -> Instructions:
    """Those of this machine. The parameters stand for another one: `platform.system()` and `platform.machine()`, what
    Linux and macOS answer, and IsProcessorFeaturePresent of Windows."""
    system, machine = system or platform.system(), (machine or platform.machine()).lower()
    is_x86 = machine in {"x86_64", "amd64"}
    if not is_x86 and machine not in {"arm64", "aarch64"}:
        return Instructions(sets={}, reason=f"there is no table for {machine or 'this architecture'}")
    names = _X86_LINUX if is_x86 else _ARM_LINUX  # which name every set there is
    if system == "Linux":
        return _linux(names, read_text(cpu_info), cpu_info)
    if system == "Darwin":
        return _macos(names, _X86_MACOS if is_x86 else _ARM_MACOS, flag)
    if system == "Windows":
        return _windows(names, _X86_WINDOWS if is_x86 else _ARM_WINDOWS, is_present or _is_present)
    return Instructions(sets=dict.fromkeys(names), reason=f"{system or 'this system'} is not asked")


def _linux(names: Table, text: str, path: Path) -> Instructions:
    """The flags of the first processor; Linux shows those that all have."""
    for line in text.splitlines():
        heading, _, flags = line.partition(":")
        if heading.strip() in {"flags", "Features"}:  # on x86, on ARM
            there = frozenset(flags.split())
            return Instructions(sets={name: there.issuperset(wanted) for name, wanted in names.items()})
    return Instructions(sets=dict.fromkeys(names), reason=f"{path} shows no flags")


def _macos(names: Table, keys: Table, flag: Callable[[str], bool | None]) -> Instructions:
    sets: dict[str, bool | None] = {name: _all([flag(key) for key in keys.get(name, ())]) for name in names}
    reason = "this version of macOS says nothing of them" if None in sets.values() else ""
    return Instructions(sets=sets, reason=reason)


def _all(flags: list[bool | None]) -> bool | None:
    """Whether all are there; None where that is open."""
    if False in flags:
        return False
    return None if not flags or None in flags else True


def _windows(names: Table, numbers: Mapping[str, int], is_present: Callable[[int], bool]) -> Instructions:
    """Windows says no of what it knows nothing about too, so only a yes is an answer."""
    sets: dict[str, bool | None] = {
        name: True if name in numbers and is_present(numbers[name]) else None for name in names
    }
    return Instructions(sets=sets, reason="Windows tells only of some, and only that they are there")


def _is_present(number: int) -> bool:
    kernel = getattr(ctypes, "windll", None)
    return bool(kernel.kernel32.IsProcessorFeaturePresent(number)) if kernel else False
