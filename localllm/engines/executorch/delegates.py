"""Which back ends of ExecuTorch can run a program here.

What the library says of itself does not do: it calls Qualcomm's back end available on any machine.
"""

import ctypes
import importlib.util
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct

from localllm.devices.cpu import processor_name
from localllm.engines.back_ends import BackEnd, Device, DeviceKind, EngineReport
from localllm.engines.executorch.native import INSTALL, Runtime, is_installed, open_runtime
from localllm.engines.executorch.openvino_version import BELOW, installed_openvino, is_too_new
from localllm.errors import EngineUnavailable

OPENVINO_INSTALL = 'pip install "openvino>=2025.1,<2026"'  # as the extra executorch[openvino] has it
_ELSEWHERE = f"in an environment without the engine openvino, which needs OpenVINO {BELOW}: {OPENVINO_INSTALL}"
_SNAPDRAGON = "a device with a Snapdragon processor, and a build of ExecuTorch for it"
_SNAPDRAGON_FILES = ("/sys/devices/soc0/family", "/sys/devices/soc0/machine", "/proc/device-tree/compatible")
_SNAPDRAGON_WORDS = ("snapdragon", "qcom", "qualcomm")


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether a back end that ExecuTorch was built with runs here."""

    is_usable: bool
    devices: tuple[Device, ...] = ()
    reason: str = ""
    remedy: str = ""


class _Known(Struct, frozen=True, kw_only=True):
    """A back end that ExecuTorch has, or had."""

    id: str  # as programs name it
    judge: Callable[[], Verdict]  # where it is registered
    absence: str  # why it is not registered
    remedy: str  # and what would change that


def report() -> EngineReport:
    """What ExecuTorch can use here. A driver may end the process meanwhile."""
    if not is_installed():
        return EngineReport(engine="executorch", is_usable=False, reason="it is not installed", remedy=INSTALL)
    try:
        runtime = open_runtime(1)
    except EngineUnavailable as error:
        return EngineReport(engine="executorch", is_usable=False, reason=error.message)
    found = back_ends(runtime)
    has_gpu = any(back_end.is_usable and _computes_elsewhere(back_end) for back_end in found)
    return EngineReport(engine="executorch", is_usable=True, build=runtime.build, has_gpu=has_gpu, back_ends=found)


def back_ends(runtime: Runtime) -> tuple[BackEnd, ...]:
    """Every one that is known or registered, by the names that `--delegate` takes where there are such."""
    known = tuple(_back_end(name, _KNOWN[name], runtime) for name in _KNOWN)
    ids = {back_end.id for back_end in _KNOWN.values()}
    others = sorted(runtime.registered - ids)
    return known + tuple(
        BackEnd(name=name, is_registered=True, is_usable=runtime.has_back_end(name), reason="ExecuTorch says so")
        for name in others
    )


def is_usable(back_end: str, runtime: Runtime) -> bool:
    """Whether programs for the back end of this id, such as XnnpackBackend, run here."""
    known = next((known for known in _KNOWN.values() if known.id == back_end), None)
    return runtime.has_back_end(back_end) and (known is None or known.judge().is_usable)


def _back_end(name: str, known: _Known, runtime: Runtime) -> BackEnd:
    if known.id not in runtime.registered:
        return BackEnd(name=name, is_registered=False, is_usable=False, reason=known.absence, remedy=known.remedy)
    verdict = known.judge()
    if verdict.is_usable and not runtime.has_back_end(known.id):
        verdict = Verdict(is_usable=False, reason="ExecuTorch says that it is not available", remedy=known.remedy)
    return BackEnd(
        name=name,
        is_registered=True,
        is_usable=verdict.is_usable,
        devices=verdict.devices,
        reason=verdict.reason,
        remedy=verdict.remedy,
    )


def _computes_elsewhere(back_end: BackEnd) -> bool:
    return any(device.kind != "cpu" for device in back_end.devices)


def _xnnpack() -> Verdict:
    return Verdict(is_usable=True, devices=(Device(name="CPU", kind="cpu", description=processor_name()),))


def _openvino() -> Verdict:
    """OpenVINO 2026.4 with ExecuTorch 1.5.1, tried: the back end calls itself available, but programs compiled by
    2025.4 do not load, and running one compiled by 2026.4 ends the process. With 2025.4 the same ones run."""
    if importlib.util.find_spec("openvino") is None:
        return Verdict(is_usable=False, reason="its library is not installed", remedy=OPENVINO_INSTALL)
    found = installed_openvino()
    if is_too_new(found):
        reason = f"OpenVINO {found} is installed, and ExecuTorch is built for {BELOW - 1}: no program runs"
        return Verdict(is_usable=False, reason=reason, remedy=_ELSEWHERE)
    try:
        from openvino import Core

        core = Core()
        devices = tuple(
            Device(
                name=name,
                kind=_openvino_kind(name),
                description=str(core.get_property(name, "FULL_DEVICE_NAME")).strip(),
            )
            for name in core.available_devices
        )
    except Exception as error:  # its plugins raise RuntimeError, and whatever else goes wrong when they are loaded
        reason = f"its library does not work: {' '.join(str(error).split())[:200]}"
        return Verdict(is_usable=False, reason=reason, remedy=OPENVINO_INSTALL)
    if not devices:
        return Verdict(is_usable=False, reason="its library finds no device", remedy="install the driver of the device")
    return Verdict(is_usable=True, devices=devices)


def _openvino_kind(name: str) -> DeviceKind:
    """Of a device such as CPU, GPU.0 or NPU."""
    kinds: Mapping[str, DeviceKind] = {"CPU": "cpu", "GPU": "gpu", "NPU": "npu"}
    return kinds.get(name.partition(".")[0], "")


def _coreml() -> Verdict:
    if platform.system() != "Darwin":
        return Verdict(is_usable=False, reason="it needs macOS", remedy="a Mac")
    cpu = Device(name="CPU", kind="cpu")
    if platform.machine() != "arm64":
        return Verdict(is_usable=True, devices=(cpu, Device(name="GPU", kind="gpu")))
    gpu, npu = Device(name="GPU", kind="igpu"), Device(name="Neural Engine", kind="npu")
    return Verdict(is_usable=True, devices=(cpu, gpu, npu))


def _qualcomm() -> Verdict:
    if not _is_snapdragon():
        return Verdict(is_usable=False, reason="this is no Snapdragon", remedy=_SNAPDRAGON)
    library = "QnnHtp.dll" if platform.system() == "Windows" else "libQnnHtp.so"
    try:
        ctypes.CDLL(library)
    except OSError:
        return Verdict(
            is_usable=False,
            reason=f"{library} cannot be loaded",
            remedy="install Qualcomm's AI Runtime (QNN) where the system finds its libraries",
        )
    return Verdict(is_usable=True, devices=(Device(name="HTP", kind="npu", description="Hexagon Tensor Processor"),))


def _is_snapdragon() -> bool:
    if platform.machine().lower() not in ("arm64", "aarch64"):
        return False
    if platform.system() == "Windows":  # on ARM it runs on no other processors yet
        return True
    return any(word in _read(path) for path in _SNAPDRAGON_FILES for word in _SNAPDRAGON_WORDS)


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes()[:4096].decode("utf-8", "replace").lower()
    except OSError:
        return ""


def _trusted() -> Verdict:
    """Back ends whose own word is all that there is."""
    return Verdict(is_usable=True, reason="ExecuTorch says so")


_NONE = "this package of ExecuTorch has none"
_KNOWN: Mapping[str, _Known] = MappingProxyType(  # what each package has: the wheel's own README
    {
        "xnnpack": _Known(id="XnnpackBackend", judge=_xnnpack, absence=_NONE, remedy=INSTALL),
        "openvino": _Known(
            id="OpenvinoBackend", judge=_openvino, absence=_NONE, remedy="the package of ExecuTorch for Linux"
        ),
        "coreml": _Known(id="CoreMLBackend", judge=_coreml, absence=_NONE, remedy="a Mac"),
        "mlx": _Known(id="MLXBackend", judge=_trusted, absence=_NONE, remedy="a Mac with Apple silicon"),
        "qualcomm": _Known(id="QnnBackend", judge=_qualcomm, absence=_NONE, remedy=_SNAPDRAGON),
        "vulkan": _Known(
            id="VulkanBackend",
            judge=_trusted,
            absence=_NONE,
            remedy="a build of ExecuTorch with EXECUTORCH_BUILD_VULKAN, and a GPU with its driver",
        ),
        "cuda": _Known(
            id="CudaBackend",
            judge=_trusted,
            absence=_NONE,
            remedy="a build of ExecuTorch with EXECUTORCH_BUILD_CUDA, and an NVIDIA GPU with its driver",
        ),
        "mps": _Known(id="MPSBackend", judge=_trusted, absence="ExecuTorch has removed it", remedy="coreml, on a Mac"),
    }
)
