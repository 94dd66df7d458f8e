"""A process that looks what an engine can use: JSON on stdout, whatever its libraries print."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

import msgspec
import pytest

from localllm.engines import probe as probe_module
from localllm.engines.back_ends import EngineReport
from localllm.engines.llama_cpp import devices
from localllm.engines.llama_cpp.ggml import FunctionMissing, Functions
from localllm.engines.probe import probe
from localllm.errors import EngineUnavailable, InvalidRequest


def run(*arguments: str, code: str = "") -> "subprocess.CompletedProcess[bytes]":
    """The module as a process, or a program that stands in for it."""
    command = ["-c", code] if code else ["-m", "localllm.engines.probe"]
    return subprocess.run([sys.executable, "-P", *command, *arguments], capture_output=True, timeout=100, check=False)


def test_llama_cpp_tells_of_its_cpu() -> None:
    told = run("llama_cpp")
    report = msgspec.json.decode(told.stdout, type=EngineReport)
    assert (told.returncode, report.engine, report.is_usable) == (0, "llama_cpp", True)
    assert report.build.startswith("llama-cpp-python ")
    cpu = next(back_end for back_end in report.back_ends if back_end.name == "CPU")
    (device,) = cpu.devices
    assert device.description
    assert 0 < (device.memory_free_bytes or 0) <= (device.memory_total_bytes or 0)


@pytest.mark.slow
def test_executorch_tells_of_its_back_ends() -> None:
    if importlib.util.find_spec("executorch") is None:
        pytest.skip('needs the extra: pip install "localllm[executorch]"')
    report = msgspec.json.decode(run("executorch").stdout, type=EngineReport)
    rows = {back_end.name: back_end for back_end in report.back_ends}
    assert report.build.startswith("executorch 1.")
    assert rows["xnnpack"].is_usable
    assert not rows["mps"].is_registered


def test_only_the_report_is_on_stdout() -> None:
    told = run(
        "noisy",
        code="""
import os, sys
from localllm.engines import probe
from localllm.engines.back_ends import EngineReport

def noisy(name):
    print("a driver says hello")
    os.write(1, b"and again")
    return EngineReport(engine=name, is_usable=True)

probe.probe = noisy
probe.main()
""",
    )
    assert told.returncode == 0
    assert msgspec.json.decode(told.stdout, type=EngineReport).engine == "noisy"
    assert b"a driver says hello" in told.stderr
    assert b"and again" in told.stderr


def test_an_engine_that_there_is_not() -> None:
    with pytest.raises(InvalidRequest, match="there is no engine 'tpu'; there are llama_cpp, ") as caught:
        probe("tpu")
    assert caught.value.param == "engine"


def test_an_engine_that_cannot_be_imported_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> NoReturn:
        raise EngineUnavailable(f"the engine {name} cannot be used: ImportError: libtvm.so")

    monkeypatch.setattr(probe_module, "kind_of", refuse)
    report = probe("mlc")
    assert (report.engine, report.is_usable) == ("mlc", False)
    assert report.reason == "the engine mlc cannot be used: ImportError: libtvm.so"


KINDS = {"CPU": "cpu", "CUDA": "gpu", "Vulkan": "igpu", "BLAS": "accelerator"}


class FakeGgml:
    """A registry: the name of each back end, and the kinds of its devices (ggml_backend_dev_type)."""

    def __init__(self, back_ends: dict[str, list[int]]) -> None:
        self._names = list(back_ends)
        self._kinds = [(name, kind) for name, kinds in back_ends.items() for kind in kinds]
        self._devices = {name: [i for i, (owner, _) in enumerate(self._kinds) if owner == name] for name in self._names}

    def functions(self) -> Functions:
        made: dict[str, Callable[..., object]] = {
            "ggml_backend_reg_count": lambda: len(self._names),
            "ggml_backend_reg_get": lambda index: index,
            "ggml_backend_reg_name": lambda index: self._names[index].encode(),
            "ggml_backend_reg_dev_count": lambda index: len(self._devices[self._names[index]]),
            "ggml_backend_reg_dev_get": lambda index, place: self._devices[self._names[index]][place],
            "ggml_backend_dev_name": lambda device: f"{self._kinds[device][0]}{device}".encode(),
            "ggml_backend_dev_description": lambda device: b"\xff made up ",
            "ggml_backend_dev_type": lambda device: self._kinds[device][1],
            "ggml_backend_dev_memory": self._memory,
        }
        return made

    def _memory(self, device: int, free: object, total: object) -> None:
        if self._kinds[device][1] != 3:  # such as BLAS, which has none
            free._obj.value, total._obj.value = 5 * 2**30, 8 * 2**30  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("back_ends", "offloads", "has_gpu", "rows"),
    [
        ({"CPU": [0]}, False, False, [("CPU", True, ""), ("GPU", False, devices.NO_GPU)]),
        (
            {"BLAS": [3], "CPU": [0]},
            False,
            False,
            [("BLAS", True, ""), ("CPU", True, ""), ("GPU", False, devices.NO_GPU)],
        ),
        ({"CUDA": [1, 1], "CPU": [0]}, True, True, [("CUDA", True, ""), ("CPU", True, "")]),
        ({"Vulkan": [2], "CPU": [0]}, True, True, [("Vulkan", True, ""), ("CPU", True, "")]),
        ({"CUDA": [], "CPU": [0]}, False, False, [("CUDA", False, devices.NO_DEVICE), ("CPU", True, "")]),
    ],
)  # fmt: skip
def test_back_ends_of_other_builds(
    monkeypatch: pytest.MonkeyPatch,
    back_ends: dict[str, list[int]],
    offloads: bool,
    has_gpu: bool,
    rows: list[tuple[str, bool, str]],
) -> None:
    monkeypatch.setattr(devices, "bind_functions", lambda _signatures: FakeGgml(back_ends).functions())
    monkeypatch.setattr(devices, "supports_gpu", lambda: offloads)
    report = devices.report()
    assert report.has_gpu == has_gpu
    assert [(row.name, row.is_usable, row.reason) for row in report.back_ends] == rows
    assert all(bool(row.remedy) != row.is_usable for row in report.back_ends)
    told = {device.name: device for row in report.back_ends for device in row.devices}
    assert [len(row.devices) for row in report.back_ends] == [
        len(back_ends.get(row.name, [])) for row in report.back_ends
    ]
    for name, device in told.items():
        assert device.kind == KINDS[name.rstrip("0123")]
        assert device.description == "\ufffd made up"
        assert device.memory_total_bytes == (None if name.startswith("BLAS") else 8 * 2**30)
        assert (device.memory_free_bytes == 5 * 2**30) == name.startswith(("CUDA", "Vulkan"))


def test_a_build_that_tells_nothing_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_signatures: object) -> Functions:
        raise FunctionMissing("ggml_backend_reg_count is missing")

    monkeypatch.setattr(devices, "bind_functions", missing)
    report = devices.report()
    assert (report.is_usable, report.back_ends) == (True, ())
    assert report.reason == "this build does not tell of its devices: ggml_backend_reg_count is missing"
