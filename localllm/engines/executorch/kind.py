"""ExecuTorch, as the registry knows it."""

from typing import TYPE_CHECKING

from localllm.engines.back_ends import EngineReport
from localllm.engines.plan import LoadPlan, check_options

if TYPE_CHECKING:
    from localllm.engines.base import OnProgress, Runner


class ExecuTorch:
    """Runs programs."""

    name = "executorch"
    formats = frozenset({"pte"})

    def report(self) -> EngineReport:
        """Its back ends, and what of them runs here."""
        from localllm.engines.executorch.delegates import report

        return report()

    def load(self, plan: LoadPlan, on_progress: "OnProgress") -> "Runner":
        """A runner. Raises LoadFailed, EngineUnavailable or ConfigError."""
        from localllm.engines.executorch.runner import ExecuTorchRunner

        check_options(plan)
        return ExecuTorchRunner(plan, on_progress)
