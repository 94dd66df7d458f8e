"""llama.cpp, as the registry knows it."""

from typing import TYPE_CHECKING

from localllm.engines.back_ends import EngineReport
from localllm.engines.plan import LoadPlan, check_options

if TYPE_CHECKING:
    from localllm.engines.base import OnProgress, Runner


class LlamaCpp:
    """Runs GGUF files."""

    name = "llama_cpp"
    formats = frozenset({"gguf"})

    def report(self) -> EngineReport:
        """Ggml's own registry."""
        from localllm.engines.llama_cpp.devices import report

        return report()

    def load(self, plan: LoadPlan, on_progress: "OnProgress") -> "Runner":
        """A runner. Raises LoadFailed or ConfigError."""
        from localllm.engines.llama_cpp.runner import LlamaRunner

        check_options(plan)
        return LlamaRunner(plan, on_progress)
