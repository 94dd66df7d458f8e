"""`localllm devices`: the machine, and a row for all that an engine computes on, or could."""

import msgspec
import pytest

from localllm.devices.machine import CentralProcessor, Machine, Memory
from localllm.devices.sensors.heat import Heat
from localllm.devices.sensors.power import Battery, Power, PowerMode
from localllm.devices.sensors.temperatures import Sensor
from localllm.engines.back_ends import BackEnd, Device, EngineReport
from localllm.runtime import probing
from localllm.runtime.probing import Inventory
from tests.cli.shell import Shell

LAPTOP = Machine(
    system="Linux 6.12",
    cpu=CentralProcessor(
        name="A CPU \x1b[31m",
        architecture="x86_64",
        instructions={"AVX2": True, "FMA": True, "AVX-512": False, "AMX INT8": None},
        instructions_reason="it is a secret",
        physical_cores=8,
        logical_processors=16,
        usable_cores=2,
        limits=("this process may run on 4 of 16 logical processors (affinity)",),
        others_cores=1.26,
    ),
    memory=Memory(
        total_bytes=32 * 10**9,
        available_bytes=5 * 10**9,
        limit_bytes=8 * 10**9,
        swap_total_bytes=4 * 10**9,
        swap_free_bytes=10**9,
    ),
    power=Power(
        has_battery=True,
        is_plugged=False,
        percent=40,
        batteries=(Battery(name="BAT0", percent=40, state="discharging"), Battery(name="ups", is_ups=True)),
    ),
    power_mode=PowerMode(profile="low-power", governor="powersave"),
    heat=Heat(
        state="hot",
        warmest=Sensor(name="coretemp Package id 0", celsius=91.4, high_celsius=90.0, critical_celsius=100.0),
        throttle_events=7,
    ),
)
DARK = Machine(  # one that tells as little as possible
    system="Windows 11",
    cpu=CentralProcessor(
        name="A CPU",
        architecture="riscv64",
        instructions={},
        instructions_reason="there is no table for riscv64",
        physical_cores=None,
        logical_processors=4,
        usable_cores=4,
    ),
    memory=Memory(total_bytes=32 * 10**9, available_bytes=5 * 10**9),
    power=Power(has_battery=None, is_plugged=None, reason="it tells nothing of batteries"),
    power_mode=PowerMode(reason="Windows is not asked"),
    heat=Heat(state=None, reason="Windows tells a program nothing of its heat"),
)
REPORTS = {
    "llama_cpp": EngineReport(
        engine="llama_cpp",
        is_usable=True,
        build="llama-cpp-python 0.3.36",
        has_gpu=True,
        back_ends=(
            BackEnd(
                name="CUDA",
                is_registered=True,
                is_usable=True,
                devices=(
                    Device(
                        name="CUDA0",
                        kind="gpu",
                        description="A GPU",
                        memory_free_bytes=5 * 10**9,
                        memory_total_bytes=8 * 10**9,
                    ),
                    Device(name="CUDA1", description="Another", memory_total_bytes=8 * 10**9),
                ),
            ),
            BackEnd(name="CPU", is_registered=True, is_usable=True, devices=(Device(name="CPU"),)),
        ),
    ),
    "executorch": EngineReport(
        engine="executorch", is_usable=False, reason="it is not installed", remedy='pip install "localllm[executorch]"'
    ),
    "openvino": EngineReport(engine="openvino", is_usable=False, reason="its probe ended (signal 11)"),
    "mlc": EngineReport(
        engine="mlc",
        is_usable=True,
        build="mlc 1",
        back_ends=(
            BackEnd(name="GPU", is_registered=False, is_usable=False, reason="none here", remedy="another build"),
            BackEnd(
                name="vulkan",
                is_registered=True,
                is_usable=False,
                reason="its loader finds no driver of a device that computes with single and half precision numbers",
                remedy="the driver of the device: see https://example.org/a/long/address/that/must/not/be/cut/in/two",
            ),
            BackEnd(name="odd", is_registered=True, is_usable=False, reason="who knows \x1b[31m"),
            BackEnd(name="sure", is_registered=True, is_usable=True, remedy="nothing"),
        ),
    ),
}
WHOLE = """\
system        Linux 6.12, x86_64
processor     A CPU \\x1b[31m
instructions  AVX2, FMA; without AVX-512; not known: AMX INT8 (it is a secret)
cores         2 of 8 can be used, 16 logical processors; this process may run on 4 of 16 logical
              processors (affinity)
others        other programs keep 1.3 cores busy now
memory        5.0 GB available of 32.0 GB; the container or service may have 8.0 GB
swap          1.0 GB free of 4.0 GB
battery       40 %, not plugged in (BAT0 40 % discharging, ups UPS)
heat          hot, coretemp Package id 0 91 °C (hot from 90 °C, critical from 100 °C), slowed down 7
              times since the system started
power mode    profile low-power, governor powersave

llama_cpp     yes  llama-cpp-python 0.3.36
  CUDA        yes  CUDA0: A GPU, 5.0 GB of 8.0 GB free
                   CUDA1: Another, 8.0 GB
  CPU         yes  CPU

executorch    no   it is not installed
                   to change that: pip install "localllm[executorch]"

openvino      no   its probe ended (signal 11)
"""


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, columns: None) -> None:
    """One that has been looked at before, with its engines."""
    be(monkeypatch, LAPTOP)


def be(monkeypatch: pytest.MonkeyPatch, seen: Machine) -> None:
    monkeypatch.setattr(probing, "look", lambda: seen)
    monkeypatch.setattr(probing, "probe_engines", lambda names: [REPORTS[name] for name in names])


def test_what_there_is(shell: Shell) -> None:
    told = shell.ok("devices", "llama_cpp", "executorch", "openvino")
    assert told.out == WHOLE
    assert told.err == ""


def test_without_names_all_that_run_models_are_asked(shell: Shell) -> None:
    told = shell.ok("devices")
    rows = [row[0] for row in told.rows if row and row[1:2] in (["yes"], ["no"])]
    assert [name for name in rows if name in REPORTS] == ["llama_cpp", "executorch", "mlc", "openvino"]


def test_one_engine(shell: Shell) -> None:
    told = shell.ok("devices", "llama_cpp", "llama_cpp")
    assert "executorch" not in told.out
    assert told.out.count("CUDA0") == 1


def test_what_would_change_it_stands_below_each_no(shell: Shell) -> None:
    told = shell.ok("devices", "mlc")
    assert told.out.split("\n\n")[1].splitlines() == [
        "mlc           yes  mlc 1",
        "  GPU         no   none here",
        "                   to change that: another build",
        "  vulkan      no   its loader finds no driver of a device that computes with single and half",
        "                   precision numbers",
        "                   to change that: the driver of the device: see",
        "                   https://example.org/a/long/address/that/must/not/be/cut/in/two",
        "  odd         no   who knows \\x1b[31m",
        "  sure        yes",
    ]


@pytest.mark.parametrize(("columns", "most"), [("20", 80), ("80", 80), ("110", 110), ("500", 120)])
def test_lines_fit_the_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch, columns: str, most: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = shell.ok("devices", "mlc", "llama_cpp").out.splitlines()
    widths = [len(line) for line in lines if "https:" not in line]  # no address is cut
    assert most - 20 < max(widths) <= most


def test_what_is_not_known_is_said_with_the_reason(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, DARK)
    told = shell.ok("devices", "executorch")
    assert told.out.split("\n\n")[0].splitlines() == [
        "system        Windows 11, riscv64",
        "processor     A CPU",
        "instructions  not known: there is no table for riscv64",
        "cores         4 can be used, 4 logical processors",
        "memory        5.0 GB available of 32.0 GB",
        "swap          not known: the system does not tell",
        "battery       not known: it tells nothing of batteries",
        "heat          not known: Windows tells a program nothing of its heat",
        "power mode    not known: Windows is not asked",
    ]


@pytest.mark.parametrize("seen", [LAPTOP, DARK])
def test_for_scripts(shell: Shell, monkeypatch: pytest.MonkeyPatch, seen: Machine) -> None:
    be(monkeypatch, seen)
    told = shell.ok("devices", "--json", *REPORTS)
    assert told.err == ""
    assert told.json.keys() == {"machine", "engines"}
    assert told.json["machine"].keys() == {"system", "cpu", "memory", "power", "power_mode", "heat"}
    assert msgspec.json.decode(told.out, type=Inventory) == Inventory(machine=seen, engines=tuple(REPORTS.values()))


def test_an_engine_that_there_is_not(shell: Shell) -> None:
    told = shell("devices", "tpu")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("localllm: there is no engine 'tpu'; there are llama_cpp, ")


def test_it_explains_itself(shell: Shell) -> None:
    told = shell.ok("devices", "--help")
    assert "  localllm devices executorch" in told.out
    (line,) = [line for line in shell.ok("--help").out.splitlines() if line.split()[:1] == ["devices"]]
    assert not line.endswith("...")
