"""What an engine is to the registry: a name, the formats it runs, and how to look and to load."""

from typing import TYPE_CHECKING, Protocol, TypeGuard

from localllm.engines.back_ends import EngineReport
from localllm.engines.plan import LoadPlan

if TYPE_CHECKING:  # processes that only ask for names and formats do without numpy
    from localllm.engines.base import OnProgress, Runner
    from localllm.engines.pipeline import Pipeline


class EngineKind(Protocol):
    """One class of a package, named by an entry point of the group `localllm.engines`.

    Making one imports nothing native; only `report` and `load` do, in a process of their own.
    """

    name: str  # as the entry point is called
    formats: frozenset[str]  # of models: "gguf", "pte", "openvino", "mlc", or one of its own

    def report(self) -> EngineReport:
        """What it can use here. A driver may end the process meanwhile; raises nothing."""
        ...

    def load(self, plan: LoadPlan, on_progress: "OnProgress") -> "Runner | Pipeline":
        """Load a model. Raises LoadFailed, EngineUnavailable, or ConfigError for an option that it does not know."""
        ...


def is_runner(loaded: "Runner | Pipeline") -> "TypeGuard[Runner]":
    """Whether it gives logits."""
    return hasattr(loaded, "decode")


def is_pipeline(loaded: "Runner | Pipeline") -> "TypeGuard[Pipeline]":
    """Whether it gives tokens that it chose by itself."""
    return hasattr(loaded, "step")
