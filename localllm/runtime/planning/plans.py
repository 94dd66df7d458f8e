"""How a model is loaded here: on which device, with how many layers there, and why; for every engine."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from localllm.config import llama_library_folder
from localllm.devices.policy import AUTO
from localllm.devices.processor import ProcessorKind
from localllm.engines.back_ends import EngineReport
from localllm.engines.llama_cpp import gpu_library
from localllm.engines.plan import Placement
from localllm.errors import ConfigError, EngineUnavailable
from localllm.models.local import LocalModel
from localllm.models.pte.header import read_program
from localllm.runtime.planning.processors import ECHO, EXECUTORCH, LLAMA, SPOKEN, select_for
from localllm.runtime.planning.wishes import Machine, ModelPlan, Wishes, preference_words

_CPU_DELEGATES = frozenset({"XnnpackBackend"})
_DELEGATE_KINDS: Mapping[str, ProcessorKind] = {
    "VulkanBackend": "gpu",
    "CudaBackend": "gpu",
    "MetalBackend": "gpu",
    "MLXBackend": "gpu",
    "CoreMLBackend": "npu",
    "QnnBackend": "npu",
}


def plan_of(model: LocalModel, wishes: Wishes, machine: Machine, reports: Sequence[EngineReport] = ()) -> ModelPlan:
    """Choose for a model on this disk. `reports` are of the engines that were asked; see `reports_for`.

    Raises EngineUnavailable for a kind of device that is not here, ConfigError for a wish that cannot be, NoRoom where
    a GPU that was asked for cannot hold a layer, LoadFailed for a file that is no model.
    """
    report = next((report for report in reports if report.engine == model.engine), None)
    if model.engine == LLAMA:
        return _plan_gguf_file(model, wishes, machine, report)
    if model.engine == EXECUTORCH:
        return plan_program(read_program(Path(model.path)).backends, wishes)
    return plan_other(model.engine, wishes, report)


def _plan_gguf_file(model: LocalModel, wishes: Wishes, machine: Machine, report: EngineReport | None) -> ModelPlan:
    """Its header is read only where that could change the plan."""
    if report is None and wishes.context_tokens is None and wishes.kv_type in (None, "f16"):
        return _plain(LLAMA, "cpu", wishes, reasons=(select_for(LLAMA, wishes.device, None).reason,))
    from localllm.models.gguf.facts import facts_of
    from localllm.runtime.outlook import headers_of, shape_of
    from localllm.runtime.planning.gguf import plan_gguf

    headers = headers_of(model)
    facts = facts_of(headers)
    shape = shape_of(facts, headers, model.size_bytes)
    return plan_gguf(shape, wishes, machine, report, makes_vectors=facts.pooling not in ("", "none"))


def reports_for(
    engine: str,
    device: str,
    *,
    probe: Callable[[Sequence[str]], list[EngineReport]],
    has_gpu_library: Callable[[], bool] = lambda: gpu_library.has_gpu_library(llama_library_folder()),
) -> list[EngineReport]:
    """What an engine says of its devices, asked (`probe_engines`) only where that could change the plan: it takes a
    process of its own, and seconds with some drivers."""
    if device.lower() == "cpu" or engine in (ECHO, EXECUTORCH):
        return []
    if engine == LLAMA and not has_gpu_library():
        return []
    return probe((engine,))


def plan_program(back_ends: Sequence[str], wishes: Wishes) -> ModelPlan:
    """For a program of ExecuTorch: its device was chosen when it was exported. Raises ConfigError for another one."""
    _check_kv_type(EXECUTORCH, wishes)
    names = [name for name in back_ends if name not in _CPU_DELEGATES]
    device = ", ".join(names) or "cpu"
    kinds = {_DELEGATE_KINDS.get(name, "cpu") for name in names} or {"cpu"}
    if wishes.device.lower() not in {AUTO, *kinds, *(name.lower() for name in back_ends)}:
        raise ConfigError(
            f"device: this program was exported for {device} and cannot compute on {wishes.device[:40]!r}; export it "
            "again: localllm quantize SOURCE --to executorch --delegate NAME"
        )
    return _plain(EXECUTORCH, device, wishes, reasons=(f"{device}: the program was exported for it",))


def plan_other(engine: str, wishes: Wishes, report: EngineReport | None) -> ModelPlan:
    """For an engine that places a whole model on one device, by what it says of itself.

    Raises EngineUnavailable where it is not usable or has no such kind of device, ConfigError for a name that is none.
    """
    _check_kv_type(engine, wishes)
    if report is not None and not report.is_usable:
        raise EngineUnavailable("; ".join(part for part in (report.reason, report.remedy) if part))
    selection = select_for(engine, wishes.device, report)
    name = selection.processors[0].name
    plan = _plain(engine, "cpu" if selection.is_cpu else name, wishes, reasons=(selection.reason,))
    placement = Placement(devices=(name,), gpu_layers=0 if selection.is_cpu else -1)
    return msgspec.structs.replace(plan, placement=placement) if engine != ECHO else plan


def _plain(engine: str, device: str, wishes: Wishes, *, reasons: tuple[str, ...]) -> ModelPlan:
    """With what was wished for, and the rest left to the engine."""
    return ModelPlan(
        engine=engine,
        device=device,
        context_tokens=wishes.context_tokens,
        jobs=wishes.jobs,
        threads=wishes.threads,
        flash_attention=wishes.flash_attention,
        prefer=wishes.prefer,
        reasons=(*reasons, *preference_words(wishes)),
    )


def _check_kv_type(engine: str, wishes: Wishes) -> None:
    if wishes.kv_type not in (None, "f16"):
        raise ConfigError(f"kv_type {wishes.kv_type} is llama.cpp's; {SPOKEN.get(engine, engine)} keeps KV as it does")
