"""The devices that MLC can compute on here, as TVM finds them."""

from localllm.devices.cpu import processor_name
from localllm.engines.back_ends import BackEnd, Device, EngineReport
from localllm.engines.mlc.native import NOT_INSTALLED, REMEDY, Native, is_installed, open_native
from localllm.errors import ConfigError, EngineUnavailable

CPU, NPU = "cpu", "npu"
BY_PREFERENCE = ("cuda", "rocm", "metal", "vulkan", "opencl", CPU)  # mlc_llm/support/auto_device.py
NO_NPU = "MLC has no back end for NPUs"
_MOST_DEVICES = 16  # of one kind that are looked for
_REMEDIES = {
    "cuda": "an NVIDIA GPU with its driver, and a build of MLC for CUDA",
    "rocm": "an AMD GPU with ROCm, and a build of MLC for it",
    "metal": "a Mac",
    "vulkan": "a GPU with a Vulkan driver",
    "opencl": "a GPU with an OpenCL driver, and a build of MLC for it",
    CPU: "a build of MLC with LLVM",
}


def report() -> EngineReport:
    """What MLC can use here. A driver may end the process meanwhile."""
    if not is_installed():
        return EngineReport(engine="mlc", is_usable=False, reason=NOT_INSTALLED, remedy=REMEDY)
    try:
        native = open_native()
    except EngineUnavailable as error:
        return EngineReport(engine="mlc", is_usable=False, reason=error.message, remedy=REMEDY)
    rows = tuple(_row(name, native) for name in BY_PREFERENCE)
    npu = BackEnd(name=NPU, is_registered=False, is_usable=False, reason=NO_NPU, remedy="--engine openvino")
    return EngineReport(
        engine="mlc",
        is_usable=any(row.is_usable for row in rows),
        build=native.build,
        has_gpu=any(row.is_usable and row.name != CPU for row in rows),
        reason="" if any(row.is_usable for row in rows) else "TVM finds no device",
        back_ends=(*rows, npu),
    )


def choose_device(wanted: str, native: Native) -> tuple[str, int]:
    """Kind and number of the device that is meant by auto, cuda or cuda:1.

    Raises ConfigError for a name that is none, EngineUnavailable for what is not here, saying what is.
    """
    if wanted == "auto":
        found = next((name for name in BY_PREFERENCE if exists(name, 0, native)), None)
        if found is None:
            raise EngineUnavailable("MLC finds no device here, not even a CPU; see: localllm devices")
        return found, 0
    kind, _, number = wanted.partition(":")
    index = int(number) if number.isascii() and number.isdigit() and len(number) <= 3 else 0
    refuse_npu(wanted)
    if kind not in BY_PREFERENCE or wanted not in {kind, f"{kind}:{index}"}:
        names = ", ".join(BY_PREFERENCE)
        raise ConfigError(f"--device: MLC knows no {wanted[:40]!r}; it knows {names}, with a number as in cuda:1")
    if not exists(kind, index, native):
        there = [name for name in BY_PREFERENCE if exists(name, 0, native)]
        raise EngineUnavailable(f"MLC finds no {wanted} here; it finds {', '.join(there) or 'nothing'}")
    return kind, index


def refuse_npu(wanted: str) -> None:
    """Raises EngineUnavailable for an NPU, whether or not there is one."""
    if wanted.partition(":")[0] == NPU:
        raise EngineUnavailable(f"{NO_NPU}; leave out --device, or see what there is: localllm devices")


def exists(kind: str, index: int, native: Native) -> bool:
    """Whether TVM finds such a device, and has the code for it."""
    try:
        return bool(native.device(kind, index).exist)
    except Exception:  # a build without this kind of device raises errors of its own
        return False


def _row(name: str, native: Native) -> BackEnd:
    most = 1 if name == CPU else _MOST_DEVICES  # TVM's CPU has any number, which is always the same one
    found: list[int] = []
    while len(found) < most and exists(name, len(found), native):
        found.append(len(found))
    described = processor_name() if name == CPU else ""
    return BackEnd(
        name=name,
        is_registered=bool(found),
        is_usable=bool(found),
        devices=tuple(Device(name=f"{name}:{index}", description=described) for index in found),
        reason="" if found else "TVM finds none",
        remedy="" if found else _REMEDIES[name],
    )
