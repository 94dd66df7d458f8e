"""What can be chosen of MLC alone, by --engine-option."""

from pathlib import Path
from typing import Literal, cast, get_args

from msgspec import Struct

from localllm.engines.mlc.devices import refuse_npu
from localllm.engines.plan import LoadPlan, check_options
from localllm.errors import ConfigError

Mode = Literal["local", "interactive", "server"]
PrefixCache = Literal["disable", "radix"]
MOCK = "mock://"  # an engine without a compiled model (mlc_llm/serve/engine_base.py)
AUTO = "auto"


class MlcOptions(Struct, frozen=True, kw_only=True):
    """The options, checked."""

    model_lib: str = ""  # the compiled library of the model; empty: found in MLC's cache, or compiled
    mode: Mode = "local"  # how much memory is set aside for KV: for few answers, for one, or all there is
    prefix_cache: PrefixCache = "disable"  # MLC has one cache for all; radix: for one client alone
    device: str = AUTO


def options_of(plan: LoadPlan) -> MlcOptions:
    """What a plan wants. Raises ConfigError, naming the option, and EngineUnavailable for an NPU."""
    check_options(plan, frozenset({"model_lib", "mode", "prefix_cache"}))
    given = plan.options
    if len(plan.placement.devices) > 1:
        raise ConfigError("--device: MLC computes on one device, or on those that a model was compiled for; name one")
    if plan.kv_type != "f16":
        raise ConfigError(f"--kv-type: MLC keeps KV as a model was compiled; leave {plan.kv_type} out")
    device = plan.placement.devices[0].lower() if plan.placement.devices else AUTO
    refuse_npu(device)
    return MlcOptions(
        model_lib=_library(given.get("model_lib", "")),
        mode=cast(Mode, _one_of("mode", given.get("mode") or _usual_mode(plan), get_args(Mode))),
        prefix_cache=cast(
            PrefixCache, _one_of("prefix_cache", given.get("prefix_cache", "disable"), get_args(PrefixCache))
        ),
        device=device,
    )


def _usual_mode(plan: LoadPlan) -> Mode:
    return "interactive" if plan.max_jobs == 1 else "local"


def _library(text: str) -> str:
    if not text or text.startswith(MOCK):
        return text
    try:
        path = Path(text).expanduser().absolute()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in the path, and the home of nobody
        raise ConfigError(f"--engine-option model_lib: cannot read {text[:200]!r}: {error}") from error
    if not is_file:
        raise ConfigError(
            f"--engine-option model_lib: there is no file {text[:200]}; leave it out to have one compiled"
        )
    return str(path)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ConfigError(f"--engine-option {name}: {value[:40]!r} is none of {', '.join(known)}")
    return value
