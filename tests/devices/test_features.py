"""Instruction sets, as Linux, macOS and Windows tell of them."""

import platform
from pathlib import Path

import pytest

from localllm.devices.features import instructions

SAPPHIRE_RAPIDS = (
    "fpu sse2 fma f16c avx avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni "
    "amx_bf16 avx512_fp16 amx_tile amx_int8"
)
ZEN_3 = "fpu sse2 fma f16c avx avx2 bmi2"
KNIGHTS_LANDING = "fma f16c avx2 avx512f avx512pf avx512er avx512cd"  # not the AVX-512 that kernels are written for
GRAVITON_3 = "fp asimd evtstrm aes asimdhp asimddp sve i8mm bf16"
CORTEX_A72 = "fp asimd evtstrm crc32 cpuid"


def told(tmp_path: Path, machine: str, heading: str, flags: str) -> list[str]:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{heading}\t\t: {flags}\n\nprocessor\t: 1\n", "utf-8")
    found = instructions(system="Linux", machine=machine, cpu_info=path)
    assert None not in found.sets.values()
    assert found.reason == ""
    return [name for name, has in found.sets.items() if has]


@pytest.mark.parametrize(
    ("machine", "heading", "flags", "names"),
    [
        (
            "x86_64",
            "flags",
            SAPPHIRE_RAPIDS,
            ["AVX2", "FMA", "F16C", "AVX-VNNI", "AVX-512", "AVX-512 VNNI", "AVX-512 BF16", "AMX INT8", "AMX BF16"],
        ),
        ("x86_64", "flags", ZEN_3, ["AVX2", "FMA", "F16C"]),
        ("x86_64", "flags", KNIGHTS_LANDING, ["AVX2", "FMA", "F16C"]),
        ("x86_64", "flags", "fpu sse2", []),
        ("aarch64", "Features", GRAVITON_3, ["NEON", "FP16", "dotprod", "i8mm", "BF16", "SVE"]),
        ("aarch64", "Features", CORTEX_A72, ["NEON"]),
    ],
)
def test_linux(tmp_path: Path, machine: str, heading: str, flags: str, names: list[str]) -> None:
    assert told(tmp_path, machine, heading, flags) == names


def test_where_linux_shows_nothing_nothing_is_known(tmp_path: Path) -> None:
    found = instructions(system="Linux", machine="x86_64", cpu_info=tmp_path / "none")
    assert set(found.sets.values()) == {None}
    assert found.reason == f"{tmp_path / 'none'} shows no flags"


def test_a_mac_with_apple_silicon() -> None:
    known = {"hw.optional.AdvSIMD": True, "hw.optional.arm.FEAT_DotProd": True, "hw.optional.arm.FEAT_I8MM": False}
    found = instructions(system="Darwin", machine="arm64", flag=known.get)
    assert (found.sets["NEON"], found.sets["dotprod"], found.sets["i8mm"]) == (True, True, False)
    assert (found.sets["SVE"], found.sets["BF16"]) == (None, None)
    assert found.reason == "this version of macOS says nothing of them"


def test_a_mac_with_a_processor_of_intel() -> None:
    names = ("avx2_0", "fma", "f16c", "avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw")
    known = {f"hw.optional.{name}": True for name in names}
    found = instructions(system="Darwin", machine="x86_64", flag=known.get)
    assert (found.sets["AVX2"], found.sets["AVX-512"], found.sets["AVX-512 VNNI"]) == (True, True, None)
    found = instructions(system="Darwin", machine="x86_64", flag=(known | {"hw.optional.avx512bw": False}).get)
    assert found.sets["AVX-512"] is False


def test_windows_is_believed_when_it_says_yes() -> None:
    found = instructions(system="Windows", machine="AMD64", is_present={40}.__contains__)
    assert {name for name, has in found.sets.items() if has} == {"AVX2"}
    assert {has for name, has in found.sets.items() if name != "AVX2"} == {None}
    assert found.reason
    found = instructions(system="Windows", machine="ARM64", is_present={19, 43, 66}.__contains__)
    assert {name for name, has in found.sets.items() if has} == {"NEON", "dotprod", "i8mm"}


def test_windows_without_its_function_tells_nothing() -> None:
    assert set(instructions(system="Windows", machine="AMD64").sets.values()) == {None}


@pytest.mark.parametrize(("system", "machine"), [("FreeBSD", "amd64"), ("Linux", "riscv64")])
def test_where_there_is_no_way_to_ask_that_is_said(system: str, machine: str, tmp_path: Path) -> None:
    found = instructions(system=system, machine=machine, cpu_info=tmp_path / "none")
    assert not any(found.sets.values())
    assert (system if machine == "amd64" else machine) in found.reason


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux tells all of it")
def test_this_machine() -> None:
    found = instructions()
    if platform.machine() in {"x86_64", "aarch64"}:
        assert found.sets
        assert None not in found.sets.values()
