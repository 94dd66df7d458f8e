"""What a user wishes of a model, what the machine has for it, and the plan that comes of both."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from localllm.config import Settings
from localllm.devices.cpu import available_memory_bytes, usable_cores
from localllm.devices.footprint import KvType
from localllm.devices.policy import AUTO
from localllm.engines.plan import LoadPlan, Placement
from localllm.types import Preference

_PREFERENCES: Mapping[Preference, str] = {
    "speed": "",
    "battery": "battery: fewer threads while it runs on battery",
    "quiet": "quiet: fewer threads, so that the fan stays slow",
}


class Wishes(Struct, frozen=True, kw_only=True):
    """What a user asked for; None leaves it open."""

    device: str = AUTO  # auto, cpu, gpu, npu, or a processor's name
    prefer: Preference = "speed"
    context_tokens: int | None = None
    jobs: int | None = None
    threads: int | None = None
    flash_attention: bool | None = None
    kv_type: KvType | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Wishes":
        """What the settings ask for."""
        return cls(
            device=settings.device,
            prefer=settings.prefer,
            context_tokens=settings.context,
            jobs=settings.parallel,
            threads=settings.threads,
            flash_attention=settings.flash_attention,
            kv_type=None if settings.kv_type == "auto" else settings.kv_type,
        )


class Machine(Struct, frozen=True, kw_only=True):
    """What is free here at the moment."""

    available_bytes: int  # of memory
    cores: int

    @classmethod
    def here(cls) -> "Machine":
        """The machine that this runs on."""
        return cls(available_bytes=available_memory_bytes(), cores=usable_cores())


class ModelPlan(Struct, frozen=True, kw_only=True):
    """How to load a model. None leaves the choice to the engine, which makes it when it loads the model."""

    engine: str
    device: str  # in words: cpu, CUDA0 (15 of 31 layers)
    placement: Placement = Placement()
    layers: int = 0  # that the model has, the output counted in; 0: unknown
    context_tokens: int | None = None
    jobs: int | None = None
    threads: int | None = None
    kv_type: KvType = "f16"
    flash_attention: bool | None = None
    prefer: Preference = "speed"
    device_bytes: dict[str, int] = {}  # what each device other than the CPU must hold
    reasons: tuple[str, ...] = ()  # a sentence each

    def applied_to(self, load: LoadPlan) -> LoadPlan:
        """The same in what the engine is told."""
        return msgspec.structs.replace(
            load,
            placement=self.placement,
            context_tokens=self.context_tokens,
            max_jobs=self.jobs,
            threads=self.threads,
            kv_type=self.kv_type,
            flash_attention=self.flash_attention,
            prefer=self.prefer,
        )


def preference_words(wishes: Wishes) -> tuple[str, ...]:
    """What a preference changes, which is done while the model runs."""
    words = _PREFERENCES[wishes.prefer]
    return (words,) if words else ()
