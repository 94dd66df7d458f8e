"""What can run here, against what ExecuTorch says of itself."""

import ctypes
import importlib.util
import platform
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from localllm.engines.back_ends import BackEnd
from localllm.engines.executorch import delegates, openvino_version
from localllm.engines.executorch.native import INSTALL, Runtime
from localllm.errors import EngineUnavailable

WHEEL = ("QnnBackend", "OpenvinoBackend", "XnnpackBackend")  # what the one for Linux on x86-64 has


class FakeCore:
    """OpenVINO's."""

    available_devices: tuple[str, ...] = ("CPU", "GPU.0", "NPU")

    def get_property(self, name: str, key: str) -> str:
        assert key == "FULL_DEVICE_NAME"
        return f"Intel {name} "


class NoDevices(FakeCore):
    available_devices = ()


class BrokenCore:
    def __init__(self) -> None:
        raise RuntimeError("no plugins.xml\nat all")


def found(*registered: str, silent: tuple[str, ...] = ()) -> dict[str, BackEnd]:
    """All rows by name, of a library with these back ends; the silent ones call themselves not available."""
    runtime = SimpleNamespace(
        registered=frozenset(registered), has_back_end=lambda name: name in registered and name not in silent
    )
    return {row.name: row for row in delegates.back_ends(cast(Runtime, runtime))}


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Be another machine."""

    def be(system: str, machine: str) -> None:
        monkeypatch.setattr(platform, "system", lambda: system)
        monkeypatch.setattr(platform, "machine", lambda: machine)

    return be


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install OpenVINO with such a core."""

    def install(core: type, version: str = "2025.4.1") -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
        monkeypatch.setattr(openvino_version, "version", lambda package: version)
        monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=core))

    return install


def test_xnnpack_runs_wherever_it_is_registered() -> None:
    row = found(*WHEEL)["xnnpack"]
    assert (row.is_registered, row.is_usable) == (True, True)
    assert [(device.name, device.kind) for device in row.devices] == [("CPU", "cpu")]


def test_every_row_says_why_not_and_what_would_change_it() -> None:
    rows = found()
    assert list(rows) == ["xnnpack", "openvino", "coreml", "mlx", "qualcomm", "vulkan", "cuda", "mps"]
    assert all(row.reason and row.remedy and not row.is_registered and not row.is_usable for row in rows.values())
    assert rows["mps"].reason == "ExecuTorch has removed it"


def test_what_calls_itself_not_available_is_not_usable() -> None:
    row = found("XnnpackBackend", silent=("XnnpackBackend",))["xnnpack"]
    assert (row.is_registered, row.is_usable) == (True, False)
    assert row.reason == "ExecuTorch says that it is not available"


def test_a_back_end_that_nobody_knows_has_a_row() -> None:
    rows = found("NewBackend", "OtherBackend", silent=("OtherBackend",))
    assert (rows["NewBackend"].is_usable, rows["OtherBackend"].is_usable) == (True, False)


@pytest.mark.parametrize(
    ("system", "machine", "file", "library", "reason"),
    [
        ("Linux", "x86_64", "snapdragon", True, "this is no Snapdragon"),
        ("Linux", "aarch64", "apple,j293\0apple,t8103", True, "this is no Snapdragon"),
        ("Linux", "aarch64", "", True, "this is no Snapdragon"),
        ("Darwin", "arm64", "", True, "this is no Snapdragon"),
        ("Linux", "aarch64", "qcom,sm8650", False, "libQnnHtp.so cannot be loaded"),
        ("Windows", "ARM64", "", False, "QnnHtp.dll cannot be loaded"),
        ("Windows", "AMD64", "", True, "this is no Snapdragon"),
        ("Linux", "aarch64", "Snapdragon X Elite", True, ""),
        ("Windows", "ARM64", "", True, ""),
    ],
)
def test_qualcomm_needs_its_processor_and_its_library(
    on: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    file: str,
    library: bool,
    reason: str,
) -> None:
    def load(_name: str) -> None:
        if not library:
            raise OSError("cannot open shared object file")

    on(system, machine)
    monkeypatch.setattr(delegates, "_read", lambda _path: file.lower())
    monkeypatch.setattr(ctypes, "CDLL", load)
    row = found(*WHEEL)["qualcomm"]
    assert (row.is_registered, row.is_usable, row.reason) == (True, not reason, reason)
    assert bool(row.remedy) == bool(reason)
    assert bool(row.devices) == row.is_usable


@pytest.mark.parametrize("machine", ["arm64", "x86_64"])
def test_core_ml_needs_macos(on: Callable[[str, str], None], machine: str) -> None:
    on("Linux", machine)
    assert found("CoreMLBackend")["coreml"].reason == "it needs macOS"
    on("Darwin", machine)
    row = found("CoreMLBackend")["coreml"]
    assert row.is_usable
    assert [device.kind for device in row.devices] == (["cpu", "igpu", "npu"] if machine == "arm64" else ["cpu", "gpu"])
    assert not found()["coreml"].is_usable


def test_openvino_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    row = found(*WHEEL)["openvino"]
    assert (row.is_usable, row.remedy) == (False, 'pip install "openvino>=2025.1,<2026"')


def test_openvino_tells_of_its_devices(openvino: Callable[..., None]) -> None:
    openvino(FakeCore)
    row = found(*WHEEL)["openvino"]
    assert row.is_usable
    assert [(device.name, device.kind, device.description) for device in row.devices] == [
        ("CPU", "cpu", "Intel CPU"),
        ("GPU.0", "gpu", "Intel GPU.0"),
        ("NPU", "npu", "Intel NPU"),
    ]


@pytest.mark.parametrize("version", ["2026.0.0", "2026.4.1", "2027.1"])
def test_an_openvino_that_executorch_is_not_built_for(openvino: Callable[..., None], version: str) -> None:
    openvino(FakeCore, version)
    row = found(*WHEEL)["openvino"]
    assert (row.is_registered, row.is_usable, row.devices) == (True, False, ())
    assert row.reason == f"OpenVINO {version} is installed, and ExecuTorch is built for 2025: no program runs"
    assert row.remedy.startswith("in an environment without the engine openvino")
    assert row.remedy.endswith('pip install "openvino>=2025.1,<2026"')
    runtime = SimpleNamespace(registered=frozenset(WHEEL), has_back_end=lambda name: True)
    assert not delegates.is_usable("OpenvinoBackend", cast(Runtime, runtime))


def test_an_openvino_of_an_unknown_version_is_tried(openvino: Callable[..., None]) -> None:
    openvino(FakeCore, "unknown")
    assert found(*WHEEL)["openvino"].is_usable


@pytest.mark.parametrize(
    ("core", "reason"),
    [
        (NoDevices, "its library finds no device"),
        (BrokenCore, "its library does not work: no plugins.xml at all"),
    ],
)
def test_an_openvino_that_is_of_no_use(openvino: Callable[..., None], core: type, reason: str) -> None:
    openvino(core)
    row = found(*WHEEL)["openvino"]
    assert (row.is_usable, row.reason) == (False, reason)


def test_without_the_extra_there_is_one_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegates, "is_installed", lambda: False)
    report = delegates.report()
    assert (report.is_usable, report.reason, report.remedy) == (False, "it is not installed", INSTALL)
    assert report.back_ends == ()


def test_a_library_that_does_not_load_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_threads: int) -> Runtime:
        raise EngineUnavailable("executorch 1.5.1 cannot be loaded with torch 2.0; install those that fit")

    monkeypatch.setattr(delegates, "is_installed", lambda: True)
    monkeypatch.setattr(delegates, "open_runtime", refuse)
    assert "cannot be loaded with torch 2.0" in delegates.report().reason


@pytest.mark.parametrize(("core", "has_gpu"), [(FakeCore, True), (NoDevices, False)])
def test_a_gpu_is_whatever_is_no_cpu(
    openvino: Callable[..., None], monkeypatch: pytest.MonkeyPatch, core: type, has_gpu: bool
) -> None:
    openvino(core)
    runtime = SimpleNamespace(registered=frozenset(WHEEL), has_back_end=lambda name: True, build="executorch 1.5.1")
    monkeypatch.setattr(delegates, "open_runtime", lambda threads: runtime)
    report = delegates.report()
    assert (report.is_usable, report.build, report.has_gpu) == (True, "executorch 1.5.1", has_gpu)
