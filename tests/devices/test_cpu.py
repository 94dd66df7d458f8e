"""What of the processor and the memory this process may use."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from localllm.devices import cpu


def test_there_is_at_least_one_core_and_no_more_than_the_machine_has() -> None:
    assert 1 <= cpu.usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("quota", "most"), [("100000 100000", 1), ("150000 100000", 2), ("50000 100000", 1)])
def test_a_containers_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(cpu, "_CGROUP_CPU", str(tmp_path / "cpu.max"))
    monkeypatch.setattr(cpu, "usable_processors", lambda: list(range(64)))
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 64)
    assert cpu.usable_cores() == most


@pytest.mark.parametrize("quota", ["max 100000", "", "nonsense"])
def test_without_a_quota_all_physical_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(cpu, "_CGROUP_CPU", str(tmp_path / "cpu.max"))
    monkeypatch.setattr(cpu, "usable_processors", lambda: list(range(16)))
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 16 if logical else 8)
    assert cpu.usable_cores() == 8


def test_a_containers_memory_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max").write_text(str(300 * 2**20))
    (tmp_path / "used").write_text(str(100 * 2**20))
    monkeypatch.setattr(cpu, "_CGROUP_MEMORY", str(tmp_path / "max"))
    monkeypatch.setattr(cpu, "_CGROUP_MEMORY_USED", str(tmp_path / "used"))
    assert cpu.available_memory_bytes() == 200 * 2**20


def test_the_peak_is_at_least_what_is_resident_now() -> None:
    assert cpu.peak_memory_bytes() >= psutil.Process().memory_info().rss * 0.9


def test_the_processor_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "cpuinfo"
    place.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nmodel name\t: Another\n")
    monkeypatch.setattr(cpu, "_CPU_INFO", str(place))
    assert cpu.processor_name() == "Some CPU @ 2.00GHz"


def test_where_the_system_does_not_name_it_its_architecture_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_CPU_INFO", str(tmp_path / "nothing"))
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
    monkeypatch.setattr(cpu, "_STATUS", str(tmp_path / "nothing"))
    assert cpu.peak_memory_bytes() >= psutil.Process().memory_info().rss * 0.9
