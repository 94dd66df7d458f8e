"""Engines by name: those of this package, and those that other packages bring by an entry point.

Both are entry points of one group; ours are written down here, because a checkout has no metadata to read them from.
Looking for one imports no other, and nothing native.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from localllm.engines.kind import EngineKind, is_runner
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineUnavailable, InvalidRequest

if TYPE_CHECKING:
    from localllm.engines.base import OnProgress, Runner
    from localllm.engines.pipeline import Pipeline

GROUP = "localllm.engines"
BUNDLED = MappingProxyType(
    {
        "llama_cpp": "localllm.engines.llama_cpp.kind:LlamaCpp",
        "executorch": "localllm.engines.executorch.kind:ExecuTorch",
        "openvino": "localllm.engines.openvino.kind:OpenVino",
        "mlc": "localllm.engines.mlc.kind:Mlc",
        "echo": "localllm.engines.echo:Echo",
    }
)


@cache
def registered() -> "MappingProxyType[str, EntryPoint]":
    """Every engine by its name. Nobody can take the place of a bundled one."""
    ours = {name: EntryPoint(name=name, value=value, group=GROUP) for name, value in BUNDLED.items()}
    return MappingProxyType({found.name: found for found in entry_points(group=GROUP)} | ours)


def engine_names() -> tuple[str, ...]:
    """All of them, the bundled ones first."""
    return tuple(sorted(registered(), key=lambda name: (name not in BUNDLED, name != "llama_cpp", name)))


def real_engines() -> tuple[str, ...]:
    """Those that run models; echo runs none."""
    return tuple(name for name in engine_names() if name != "echo")


def check_engine(name: str) -> None:
    """Raises InvalidRequest with those that there are."""
    if name not in registered():
        raise InvalidRequest(f"there is no engine {name[:40]!r}; there are {', '.join(engine_names())}", param="engine")


def kind_of(name: str) -> EngineKind:
    """An engine, to look at or to load with. Raises EngineUnavailable where there is none or its package is broken."""
    found = registered().get(name)
    if found is None:
        raise EngineUnavailable(f"no engine named {name!r}; there are {', '.join(engine_names())}")
    try:
        make: Callable[[], EngineKind] = found.load()
        kind = make()
        is_whole = callable(kind.load) and callable(kind.report) and bool(kind.formats)
    except Exception as error:  # whatever a foreign module does when it is imported
        raise EngineUnavailable(f"the engine {name} ({found.value}) cannot be used: {_line(error)}") from error
    if not is_whole:
        raise EngineUnavailable(f"the engine {name} ({found.value}) is none: it needs formats, report and load")
    return kind


def load_engine(plan: LoadPlan, on_progress: "OnProgress") -> "Runner | Pipeline":
    """Load the model of `plan` with the engine it names. Raises LoadFailed, EngineUnavailable or ConfigError."""
    return kind_of(plan.engine).load(plan, on_progress)


def load_runner(plan: LoadPlan, on_progress: "OnProgress") -> "Runner":
    """The same, of an engine that gives logits. Raises EngineUnavailable for one that keeps them to itself."""
    loaded = load_engine(plan, on_progress)
    if is_runner(loaded):
        return loaded
    loaded.close()
    raise EngineUnavailable(f"the engine {plan.engine} gives no logits; use llama_cpp or executorch for that")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
