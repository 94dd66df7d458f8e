"""What of the processor and the memory this process may use."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from localllm.devices import cpu
from localllm.devices.container import MemoryLimit


def test_there_is_at_least_one_core_and_no_more_than_the_machine_has() -> None:
    assert 1 <= cpu.usable_cores() <= (os.cpu_count() or 1)


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine of 16 cores, two hyper-threads each; thread n is a sibling of thread n + 16."""
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 32 if logical else 16)
    monkeypatch.setattr(cpu, "usable_processors", lambda: list(range(32)))
    monkeypatch.setattr(cpu, "quota_cores", lambda: None)
    monkeypatch.setattr(cpu, "_PROCESSORS", tmp_path)
    for number in range(32):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number % 16},{number % 16 + 16}\n")


@pytest.mark.parametrize(("quota", "most"), [(1.0, 1), (1.5, 2), (0.5, 1), (64.0, 16), (None, 16)])
def test_a_containers_quota_counts(big: None, monkeypatch: pytest.MonkeyPatch, quota: float | None, most: int) -> None:
    monkeypatch.setattr(cpu, "quota_cores", lambda: quota)
    assert cpu.usable_cores() == most
    assert cpu.core_limits() == (() if most == 16 else (f"its container or service may use {quota:g} (quota)",))


@pytest.mark.parametrize(("processors", "cores"), [([0, 16], 1), ([0, 1], 2), ([3], 1), ([0, 1, 16, 17, 5], 3)])
def test_two_threads_of_a_core_are_one(
    big: None, monkeypatch: pytest.MonkeyPatch, processors: list[int], cores: int
) -> None:
    monkeypatch.setattr(cpu, "usable_processors", lambda: processors)
    assert cpu.usable_cores() == cores
    assert cpu.core_limits() == (f"this process may run on {len(processors)} of 32 logical processors (affinity)",)


@pytest.mark.parametrize("processors", [16, 8, 1])
def test_without_a_topology_the_ratio_counts(
    big: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setattr(cpu, "_PROCESSORS", tmp_path / "nothing")
    monkeypatch.setattr(cpu, "usable_processors", lambda: list(range(processors)))
    assert cpu.usable_cores() == max(1, processors // 2)


def test_a_containers_memory_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = MemoryLimit(limit_bytes=300 * 2**20, used_bytes=100 * 2**20)
    monkeypatch.setattr(cpu, "memory_limit", lambda total_bytes: limit)
    assert cpu.available_memory_bytes() == 200 * 2**20
    monkeypatch.setattr(cpu, "memory_limit", lambda total_bytes: None)
    assert cpu.available_memory_bytes() > 200 * 2**20


def test_the_peak_is_at_least_what_is_resident_now() -> None:
    assert cpu.peak_memory_bytes() >= psutil.Process().memory_info().rss * 0.9


def test_the_processor_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "cpuinfo"
    place.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nmodel name\t: Another\n")
    monkeypatch.setattr(cpu, "_CPU_INFO", place)
    assert cpu.processor_name() == "Some CPU @ 2.00GHz"


def test_on_arm_its_numbers_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "cpuinfo"
    place.write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nCPU part\t: 0xd05\n")
    monkeypatch.setattr(cpu, "_CPU_INFO", place)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert cpu.processor_name() == "aarch64 (implementer 0x41, part 0xd0c)"


def test_a_mac_names_it_by_sysctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_CPU_INFO", tmp_path / "nothing")
    monkeypatch.setattr(cpu, "sysctl_text", {"machdep.cpu.brand_string": "Apple M2"}.__getitem__)
    assert cpu.processor_name() == "Apple M2"


def test_windows_names_it_in_its_registry() -> None:
    winreg = ModuleType("winreg")
    vars(winreg).update(
        HKEY_LOCAL_MACHINE=1,
        OpenKey=lambda root, key: nullcontext((root, key)),
        QueryValueEx=lambda opened, name: (f"{opened[1]} {name}  ", 1),
    )
    assert cpu._registry_text(winreg, "key", "name") == "key name"


def test_where_the_system_does_not_name_it_its_architecture_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_CPU_INFO", tmp_path / "nothing")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert cpu.processor_name() == "aarch64"


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux tells it so")
def test_the_peak_of_a_child_is_its_own_and_not_its_parents() -> None:
    ballast = bytearray(300 * 2**20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    code = "from localllm.devices.cpu import peak_memory_bytes; print(peak_memory_bytes())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 150 * 2**20
    assert cpu.peak_memory_bytes() >= 300 * 2**20


def test_where_no_status_can_be_read_the_peak_is_known_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_STATUS", tmp_path / "nothing")
    assert cpu.peak_memory_bytes() >= psutil.Process().memory_info().rss * 0.9
