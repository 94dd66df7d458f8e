"""What to load, and how."""

from msgspec import Struct

from localllm.devices.footprint import KvType
from localllm.errors import ConfigError
from localllm.types import Guessing, Preference


class Scheduling(Struct, frozen=True, kw_only=True):
    """How jobs are queued, cached and sped up, whatever the engine."""

    max_queue: int = 64  # jobs that may wait for a slot
    guessing: Guessing = "exact"  # guess ahead from the text so far, or with a draft model
    draft_path: str | None = None  # a smaller model that guesses ahead
    cache_path: str | None = None  # folder for the KV of past prompts
    cache_bytes: int = 0  # how much of it may lie there
    shares_prompts: bool = True  # whether what was read of a prompt may serve whoever asks, for all are one client
    volatile_lines: tuple[str, ...] = ()  # how lines begin that change with every request and say nothing


class Placement(Struct, frozen=True, kw_only=True):
    """Where a model computes."""

    devices: tuple[str, ...] = ()  # as the engine calls them, the first the main one; empty: the CPU
    gpu_layers: int = 0  # so many of the last layers, the output among them, are computed on `devices`; -1: all
    split: tuple[float, ...] = ()  # shares of them that go to each of `devices`; empty: by their free memory


class LoadPlan(Struct, frozen=True, kw_only=True):
    """What to load and how. None leaves the choice to the engine, made from the model and this machine."""

    engine: str
    path: str
    parts: tuple[str, ...] = ()  # of a model in several files: all of them in order; `path` is the first
    beside: dict[str, str] = {}  # more files that belong to it: paths by name, such as tokenizer.json
    sha256: str = ""  # of `path`; empty: it is taken as it is
    identity: str = ""  # tells this model's bytes from any others; empty: unknown, and no KV of it goes to disk
    context_tokens: int | None = None
    max_jobs: int | None = None
    threads: int | None = None
    flash_attention: bool | None = None
    adapters: dict[str, str] = {}  # LoRA adapters: path by name
    placement: Placement = Placement()
    kv_type: KvType = "f16"
    prefer: Preference = "speed"
    options: dict[str, str] = {}  # of this engine alone, by name, such as model_lib
    scheduling: Scheduling = Scheduling()


def check_options(plan: LoadPlan, known: frozenset[str] = frozenset()) -> None:
    """Raises ConfigError for an option that the engine does not know."""
    unknown = sorted(plan.options.keys() - known)
    if unknown:
        there = f"it knows {', '.join(sorted(known))}" if known else "it has none"
        raise ConfigError(f"--engine-option: {plan.engine} has no option {unknown[0][:40]!r}; {there}")
