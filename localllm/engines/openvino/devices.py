"""The devices that OpenVINO computes on, as its plugins find them."""

import platform
from typing import TYPE_CHECKING

from localllm.devices.cpu import available_memory_bytes, processor_name
from localllm.engines.back_ends import BackEnd, Device, DeviceKind, EngineReport
from localllm.engines.openvino.native import INSTALL, build, is_installed, line, open_core
from localllm.errors import EngineUnavailable

if TYPE_CHECKING:
    import openvino

GPU_REMEDY = (
    "install Intel's compute runtime (OpenCL and Level Zero: intel-opencl-icd and libze1 on Linux, the graphics driver "
    "on Windows), and let this process see the device (/dev/dri, the group render)"
)
NPU_REMEDY = (
    "install Intel's NPU driver (linux-npu-driver on Linux, Intel NPU Driver on Windows), and let this process see "
    "the device (/dev/accel)"
)
NO_INTEL = "OpenVINO computes on Intel's own only, and this machine's processor is not one of theirs"
OTHER_MACHINE = "a machine with an Intel GPU or NPU, or another engine: llama_cpp"
NO_MAC = "there is no plugin for it on macOS"
_PLUGINS = {"GPU": GPU_REMEDY, "NPU": NPU_REMEDY}
_KINDS: dict[str, DeviceKind] = {"CPU": "cpu", "NPU": "npu"}
_MEMORY = "GPU_DEVICE_TOTAL_MEM_SIZE"


def report() -> EngineReport:
    """What OpenVINO can use here. A driver may end the process meanwhile."""
    if not is_installed():
        return EngineReport(engine="openvino", is_usable=False, reason="it is not installed", remedy=INSTALL)
    try:
        core = open_core()
        devices = tuple(_device(core, name) for name in core.available_devices)
    except EngineUnavailable as error:
        return EngineReport(engine="openvino", is_usable=False, build=build(), reason=error.message, remedy=INSTALL)
    except Exception as error:  # a plugin raises RuntimeError, and whatever goes wrong when it is loaded
        return EngineReport(engine="openvino", is_usable=False, build=build(), reason=line(error), remedy=INSTALL)
    return EngineReport(
        engine="openvino",
        is_usable=bool(devices),
        build=build(),
        has_gpu=any(device.name.startswith("GPU") for device in devices),
        reason="" if devices else "its plugins find no device",
        back_ends=tuple(_back_end(plugin, devices) for plugin in ("CPU", *_PLUGINS)),
    )


def remedy_for(device: str) -> str:
    """What brings a device that is absent."""
    plugin = device.partition(".")[0].upper()
    if plugin not in _PLUGINS:
        return "it knows CPU, GPU (GPU.0, GPU.1, …) and NPU"
    return _absence(plugin)[1]


def _back_end(plugin: str, devices: tuple[Device, ...]) -> BackEnd:
    ours = tuple(device for device in devices if device.name.partition(".")[0] == plugin)
    reason, remedy = ("", "") if ours or plugin == "CPU" else _absence(plugin)
    return BackEnd(name=plugin, is_registered=True, is_usable=bool(ours), devices=ours, reason=reason, remedy=remedy)


def _absence(plugin: str) -> tuple[str, str]:
    """Why there is no such device, and what would change that."""
    if platform.system() == "Darwin":
        return NO_MAC, OTHER_MACHINE
    if plugin == "NPU" and "intel" not in processor_name().lower():  # they are part of the processor
        return NO_INTEL, OTHER_MACHINE
    if plugin == "GPU" and "intel" not in processor_name().lower():
        return "its plugin finds no Intel GPU", f"with an Intel card: {GPU_REMEDY}; else another engine"
    return f"its plugin finds no {plugin}", _PLUGINS[plugin]


def _device(core: "openvino.Core", name: str) -> Device:
    total_bytes = _number(core, name, _MEMORY)
    is_cpu = name == "CPU"
    return Device(
        name=name,
        kind=_kind(core, name),
        description=_text(core, name, "FULL_DEVICE_NAME"),
        memory_free_bytes=available_memory_bytes() if is_cpu else None,
        memory_total_bytes=total_bytes,
    )


def _kind(core: "openvino.Core", name: str) -> DeviceKind:
    plugin = name.partition(".")[0]
    if plugin == "GPU":
        return "igpu" if "INTEGRATED" in _text(core, name, "DEVICE_TYPE").upper() else "gpu"
    return _KINDS.get(plugin, "")


def _text(core: "openvino.Core", name: str, key: str) -> str:
    return str(_property(core, name, key) or "").strip()


def _number(core: "openvino.Core", name: str, key: str) -> int | None:
    value = _property(core, name, key)
    return value if isinstance(value, int) and value > 0 else None


def _property(core: "openvino.Core", name: str, key: str) -> object:
    try:
        return core.get_property(name, key)
    except Exception:  # a property that this plugin does not have
        return None
