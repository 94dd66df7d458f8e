"""How llama.cpp loads a model here: layers on GPUs where there are any, and KV in 8 bits only where 16 do not fit."""

from localllm.devices.footprint import KvType, ModelShape, check_flash_attention, fits_kv_type
from localllm.devices.forecast import context_words, forecast
from localllm.devices.offload import Offload, WantedContext, offload
from localllm.devices.policy import Selection
from localllm.devices.processor import Processor
from localllm.engines.back_ends import EngineReport
from localllm.engines.plan import Placement
from localllm.errors import ConfigError, LoadFailed, NoRoom
from localllm.runtime.planning.processors import LLAMA, select_for
from localllm.runtime.planning.wishes import Machine, ModelPlan, Wishes, preference_words
from localllm.units import size_words

SLOWER = "prompts are read at about a third of the speed, answers lose next to nothing"  # measured on a CPU: 0.37


def plan_gguf(
    shape: ModelShape,
    wishes: Wishes,
    machine: Machine,
    report: EngineReport | None = None,
    *,
    makes_vectors: bool = False,
) -> ModelPlan:
    """Choose for a model of this shape. On the CPU context and jobs are left to the engine where nobody named any,
    and so they are on a GPU for one that `makes_vectors`.

    Raises EngineUnavailable, ConfigError, and NoRoom where a GPU that was asked for cannot hold a layer.
    """
    _check_kv_type(shape, wishes)
    selection = select_for(LLAMA, wishes.device, report)
    if selection.is_cpu:
        return _on_cpu(shape, wishes, machine, (selection.reason,))
    placed, kv_type, kv_words = _offload(shape, selection, wishes, machine)
    if placed is None or not placed.gpu_layers:
        reason = kv_words if placed is None else _no_layer_words(selection)
        if selection.is_wished:
            raise NoRoom(f"device {wishes.device}: {reason}; use --device cpu, a smaller model or less --context")
        return _on_cpu(shape, wishes, machine, (f"CPU: {reason}",))
    words = context_words(shape, placed.context_tokens, placed.jobs, is_chosen=wishes.context_tokens is None)
    reasons = (_layer_words(placed, selection.processors), *_host_words(placed, machine), kv_words, words)
    return ModelPlan(
        engine=LLAMA,
        device=_device_words(placed),
        placement=Placement(devices=placed.devices, gpu_layers=placed.gpu_layers, split=placed.split),
        layers=placed.layers,
        context_tokens=wishes.context_tokens if makes_vectors else placed.context_tokens,
        jobs=wishes.jobs if makes_vectors else placed.jobs,
        threads=wishes.threads,
        kv_type=kv_type,
        flash_attention=wishes.flash_attention,
        prefer=wishes.prefer,
        device_bytes=dict(zip(placed.devices, placed.device_bytes, strict=True)),
        reasons=(*(reason for reason in reasons if reason), *preference_words(wishes)),
    )


def kv_types_to_try(shape: ModelShape, wishes: Wishes) -> tuple[KvType, ...]:
    """What was asked for, or else 16 bits; 8 only where a context that was asked for does not fit otherwise."""
    if wishes.kv_type is not None:
        return (wishes.kv_type,)
    may_shrink = wishes.context_tokens is not None and wishes.flash_attention is not False
    return ("f16", "q8_0") if may_shrink and fits_kv_type(shape, "q8_0") else ("f16",)


def _on_cpu(shape: ModelShape, wishes: Wishes, machine: Machine, reasons: tuple[str, ...]) -> ModelPlan:
    kv_type, words = _cpu_kv_type(shape, wishes, machine)
    return ModelPlan(
        engine=LLAMA,
        device="cpu",
        layers=shape.layers + 1,
        context_tokens=wishes.context_tokens,
        jobs=wishes.jobs,
        threads=wishes.threads,
        kv_type=kv_type,
        flash_attention=wishes.flash_attention,
        prefer=wishes.prefer,
        reasons=(*reasons, *([words] if words else []), *preference_words(wishes)),
    )


def _cpu_kv_type(shape: ModelShape, wishes: Wishes, machine: Machine) -> tuple[KvType, str]:
    refusal = ""
    for kv_type in kv_types_to_try(shape, wishes):
        seen = forecast(
            shape,
            available_bytes=machine.available_bytes,
            context=wishes.context_tokens,
            jobs=wishes.jobs,
            bandwidth=None,
            flash_attention=wishes.flash_attention,
            kv_type=kv_type,
        )
        if seen.fits:
            return kv_type, _kv_words(kv_type, refusal)
        refusal = refusal or seen.reasons[0]
    return wishes.kv_type or "f16", _kv_words(wishes.kv_type or "f16", "")


def _offload(
    shape: ModelShape, selection: Selection, wishes: Wishes, machine: Machine
) -> tuple[Offload | None, KvType, str]:
    """The first type of KV with which the model fits; None, with the reason in words, where none does."""
    refusal = ""
    for kv_type in kv_types_to_try(shape, wishes):
        wanted = WantedContext(
            tokens=wishes.context_tokens,
            jobs=wishes.jobs,
            kv_type=kv_type,
            flash_attention=wishes.flash_attention is not False,
        )
        try:
            placed = offload(shape, selection.processors, available_bytes=machine.available_bytes, wanted=wanted)
        except (NoRoom, LoadFailed) as error:
            refusal = refusal or error.message
            continue
        if placed.host_bytes <= machine.available_bytes:
            return placed, kv_type, _kv_words(kv_type, refusal)
        missing = f"the CPU's part takes {size_words(placed.host_bytes)}"
        refusal = refusal or f"{missing}, {size_words(machine.available_bytes)} are free"
    return None, "f16", refusal


def _kv_words(kv_type: KvType, refusal: str) -> str:
    if kv_type == "f16":
        return ""
    why = f"in 16 bits it does not fit ({refusal})" if refusal else "as asked"
    return f"KV in 8 bits (q8_0), which takes half: {why}; {SLOWER}"


def _layer_words(placed: Offload, processors: tuple[Processor, ...]) -> str:
    """Such as: all 31 layers on CUDA0 (NVIDIA …): 1.2 GB of 8 GB free."""
    by_name = {processor.name: processor for processor in processors}
    parts = []
    for place, (name, size) in enumerate(zip(placed.devices, placed.device_bytes, strict=True)):
        free = by_name[name].free_bytes
        room = f"{size_words(size)} of {size_words(free)} free" if free is not None else size_words(size)
        count = f"{placed.split[place]:.0f} on " if placed.split else ""
        parts.append(f"{count}{by_name[name].words}: {room}")
    layers = f"all {placed.layers} layers" if placed.is_whole else f"{placed.gpu_layers} of {placed.layers} layers"
    return f"{layers}{': ' if placed.split else ' on '}{', '.join(parts)}"


def _host_words(placed: Offload, machine: Machine) -> tuple[str, ...]:
    if placed.is_whole:
        return ()
    rest = placed.layers - placed.gpu_layers
    sizes = f"{size_words(placed.host_bytes)} of {size_words(machine.available_bytes)} free"
    return (f"more do not fit there; the other {rest} are computed on the CPU: {sizes}",)


def _no_layer_words(selection: Selection) -> str:
    free = ", ".join(f"{one.name} has {size_words(one.free_bytes or 0)} free" for one in selection.processors)
    return f"{free}, not enough for a layer of this model with its buffers"


def _device_words(placed: Offload) -> str:
    part = "all" if placed.is_whole else f"{placed.gpu_layers} of {placed.layers}"
    return f"{', '.join(placed.devices)} ({part} layers)"


def _check_kv_type(shape: ModelShape, wishes: Wishes) -> None:
    if wishes.kv_type is None or wishes.kv_type == "f16":
        return
    check_flash_attention(wishes.kv_type, wishes.flash_attention)
    if not fits_kv_type(shape, wishes.kv_type):
        lengths = f"{shape.key_length} and {shape.value_length}"
        raise ConfigError(
            f"kv_type {wishes.kv_type} needs heads of whole 32 values, this model's have {lengths}; use f16"
        )
