"""MLC LLM, as the registry knows it."""

from typing import TYPE_CHECKING

from localllm.engines.back_ends import EngineReport
from localllm.engines.plan import LoadPlan

if TYPE_CHECKING:
    from localllm.engines.base import OnProgress
    from localllm.engines.pipeline import Pipeline


class Mlc:
    """Runs folders with an mlc-chat-config.json."""

    name = "mlc"
    formats = frozenset({"mlc"})

    def report(self) -> EngineReport:
        """Whether it is installed, and the devices that it finds."""
        from localllm.engines.mlc.devices import report

        return report()

    def load(self, plan: LoadPlan, on_progress: "OnProgress") -> "Pipeline":
        """A pipeline. Raises LoadFailed, EngineUnavailable or ConfigError."""
        from localllm.engines.mlc.pipeline import MlcPipeline

        return MlcPipeline(plan, on_progress)
