"""Which processors a model computes on: what was wished for, where it is there, else what is usually fastest."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from localllm.devices.processor import Processor, ProcessorKind
from localllm.errors import ConfigError, EngineUnavailable

AUTO = "auto"
KINDS: tuple[ProcessorKind, ...] = ("cpu", "gpu", "npu")  # wishes that name no processor
_TITLES: Mapping[ProcessorKind, str] = {"cpu": "CPU", "gpu": "GPU", "igpu": "GPU", "npu": "NPU"}


class Absence(Struct, frozen=True, kw_only=True):
    """Why an engine has no processor of a kind here, and what would change that."""

    reason: str
    remedy: str = ""

    @property
    def words(self) -> str:
        """Both."""
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


class Selection(Struct, frozen=True, kw_only=True):
    """The processors to use, the first the main one; none: the CPU."""

    processors: tuple[Processor, ...] = ()
    is_wished: bool = False  # they were asked for, and nothing else may take their place
    reason: str = ""

    @property
    def is_cpu(self) -> bool:
        """Whether the CPU alone computes."""
        return all(processor.kind == "cpu" for processor in self.processors)


def select(
    wish: str, processors: Sequence[Processor], *, engine: str, absences: Mapping[ProcessorKind, Absence]
) -> Selection:
    """The processors for a wish: "auto", a kind ("cpu", "gpu", "npu") or the name of one.

    `auto` takes all GPUs with memory of their own, else those without, else the CPU; an NPU only where it is named:
    what is faster there depends on the model. Raises EngineUnavailable for a kind that is not here, with what would
    change that, and ConfigError for a name that is none.
    """
    if wish == AUTO:
        return _usual(processors, absences)
    kind = next((kind for kind in KINDS if kind == wish.lower()), None)
    if kind is None:
        return _named(wish, processors, engine)
    if kind == "cpu":
        found = tuple(processor for processor in processors if processor.kind == "cpu")
        return Selection(processors=found[:1], is_wished=True, reason="CPU: as asked")
    chosen = _best_gpus(processors) if kind == "gpu" else _of(processors, kind)[:1]
    if not chosen:
        absence = absences.get(kind, Absence(reason=f"{engine} finds no {_TITLES[kind]} here"))
        raise EngineUnavailable(f"device {kind}: {absence.words}")
    return Selection(processors=chosen, is_wished=True, reason=f"{_names(chosen)}: as asked")


def _usual(processors: Sequence[Processor], absences: Mapping[ProcessorKind, Absence]) -> Selection:
    chosen = _best_gpus(processors)
    if not chosen:
        absence = absences.get("gpu")
        return Selection(processors=_of(processors, "cpu")[:1], reason=f"CPU: {absence.words}" if absence else "CPU")
    kind = "which has no memory of its own" if chosen[0].kind == "igpu" else "the usual choice where there is one"
    return Selection(processors=chosen, reason=f"{_names(chosen)}: a GPU, {kind}")


def _named(wish: str, processors: Sequence[Processor], engine: str) -> Selection:
    found = next((processor for processor in processors if processor.name.lower() == wish.lower()), None)
    if found is None:
        there = ", ".join(processor.name for processor in processors) or "cpu"
        raise ConfigError(f"device: {engine} has no {wish[:40]!r} here; there is {there} (see: localllm devices)")
    return Selection(processors=(found,), is_wished=True, reason=f"{found.words}: as asked")


def _best_gpus(processors: Sequence[Processor]) -> tuple[Processor, ...]:
    """Those with memory of their own, else the first without, as llama.cpp has it (`llama_prepare_model_devices`)."""
    return _of(processors, "gpu") or _of(processors, "igpu")[:1]


def _of(processors: Sequence[Processor], kind: ProcessorKind) -> tuple[Processor, ...]:
    return tuple(processor for processor in processors if processor.kind == kind)


def _names(processors: Sequence[Processor]) -> str:
    return ", ".join(processor.words for processor in processors)
