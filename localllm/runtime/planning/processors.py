"""The processors that an engine reports, as the rules for choosing one see them."""

from collections.abc import Mapping

from localllm.devices.policy import Absence, Selection, select
from localllm.devices.processor import Processor, ProcessorKind
from localllm.engines.back_ends import BackEnd, Device, EngineReport
from localllm.engines.llama_cpp.gpu_library import GPU_REMEDY

LLAMA, OPENVINO, EXECUTORCH, MLC, ECHO = "llama_cpp", "openvino", "executorch", "mlc", "echo"
SPOKEN: Mapping[str, str] = {LLAMA: "llama.cpp", OPENVINO: "OpenVINO", EXECUTORCH: "ExecuTorch", MLC: "MLC"}
_UNIFIED = frozenset({"metal", "mtl"})  # back ends of Apple's processors, whose GPU shares the memory
NO_GPU_BUILD = Absence(
    reason="llama.cpp here is built without a GPU back end",
    remedy=GPU_REMEDY,
)
NO_NPU = Absence(
    reason="llama.cpp has no NPU back end here", remedy='OpenVINO has one: pip install "localllm[openvino]"'
)


def select_for(engine: str, device: str, report: EngineReport | None) -> Selection:
    """The processors that a wish means. Raises EngineUnavailable, ConfigError."""
    spoken = SPOKEN.get(engine, engine)
    return select(device, processors_of(report), engine=spoken, absences=absences_of(report, spoken))


def processors_of(report: EngineReport | None) -> tuple[Processor, ...]:
    """Of a report, what can compute; without one, the CPU."""
    found = [
        processor
        for back_end in (report.back_ends if report else ())
        if back_end.is_usable
        for device in back_end.devices
        if (processor := _processor(back_end, device)) is not None
    ]
    if not any(processor.kind == "cpu" for processor in found):
        found.insert(0, Processor(name="cpu", kind="cpu"))
    return tuple(found)


def absences_of(report: EngineReport | None, spoken: str) -> dict[ProcessorKind, Absence]:
    """Why there is no GPU or NPU, as far as an engine says so."""
    if spoken == SPOKEN[LLAMA]:
        found: dict[ProcessorKind, Absence] = {"gpu": NO_GPU_BUILD, "npu": NO_NPU}
    else:
        found = {kind: Absence(reason=f"{spoken} finds no {kind.upper()} here") for kind in ("gpu", "npu")}
    told = [row for row in (report.back_ends if report else ()) if not row.is_usable and row.name.lower() != "cpu"]
    for back_end in reversed(told):  # what stands first is the likeliest
        kind: ProcessorKind = "npu" if back_end.name.lower().startswith("npu") else "gpu"
        found[kind] = Absence(reason=f"{spoken}: {back_end.name}: {back_end.reason}", remedy=back_end.remedy)
    return found


def _processor(back_end: BackEnd, device: Device) -> Processor | None:
    kind = _kind(back_end, device)
    if kind is None:
        return None
    return Processor(
        name=device.name,
        kind=kind,
        description=device.description,
        free_bytes=device.memory_free_bytes,
        total_bytes=device.memory_total_bytes,
    )


def _kind(back_end: BackEnd, device: Device) -> ProcessorKind | None:
    """By what the engine says, else by the name; None for what helps the CPU, such as BLAS."""
    if device.kind == "accelerator":
        return None
    name = device.name.lower()
    if device.kind in ("", "gpu") and (back_end.name.lower() in _UNIFIED or "(igpu)" in device.description.lower()):
        return "igpu"
    if device.kind:
        return device.kind
    return "cpu" if name.startswith("cpu") else "npu" if name.startswith("npu") else "gpu"
