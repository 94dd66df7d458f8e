"""The machine at one moment: what is known is sane, and what is not has its reason."""

import subprocess

import msgspec
import psutil
import pytest

from localllm.devices import machine
from localllm.devices.machine import Machine, look


@pytest.fixture(scope="module")
def seen() -> Machine:
    return look()


def test_this_machine(seen: Machine) -> None:
    cpu, memory = seen.cpu, seen.memory
    assert seen.system
    assert cpu.name
    assert 1 <= cpu.usable_cores <= cpu.logical_processors
    assert cpu.others_cores is not None
    assert 0 <= cpu.others_cores <= cpu.logical_processors
    assert 0 < memory.available_bytes <= memory.total_bytes
    assert memory.limit_bytes is None or memory.limit_bytes < memory.total_bytes


def test_what_is_not_known_has_a_reason(seen: Machine) -> None:
    assert (None in seen.cpu.instructions.values()) == bool(seen.cpu.instructions_reason)
    assert seen.power.has_battery is not None or seen.power.reason
    assert seen.heat.state is not None or seen.heat.reason
    assert seen.power_mode.profile or seen.power_mode.governor or seen.power_mode.reason


def test_it_goes_through_json(seen: Machine) -> None:
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Machine) == seen


def test_others_need_not_be_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(machine, "CoreMeter")
    assert look(0).cpu.others_cores is None


def test_no_program_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(subprocess, "Popen")
    look(0)


def test_a_system_that_does_not_tell_of_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("no swap statistics")

    monkeypatch.setattr(psutil, "swap_memory", refuse)
    memory = look(0).memory
    assert (memory.swap_total_bytes, memory.swap_free_bytes) == (None, None)
