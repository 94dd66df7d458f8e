"""OpenVINO, as the registry knows it."""

from typing import TYPE_CHECKING

from localllm.engines.back_ends import EngineReport
from localllm.engines.plan import LoadPlan, check_options

if TYPE_CHECKING:
    from localllm.engines.base import OnProgress
    from localllm.engines.pipeline import Pipeline


class OpenVino:
    """Runs GGUF files of the architectures it knows, and folders with an openvino_model.xml."""

    name = "openvino"
    formats = frozenset({"gguf", "openvino"})

    def report(self) -> EngineReport:
        """The devices that its plugins find."""
        from localllm.engines.openvino.devices import report

        return report()

    def load(self, plan: LoadPlan, on_progress: "OnProgress") -> "Pipeline":
        """A pipeline. Raises LoadFailed, EngineUnavailable or ConfigError."""
        from localllm.engines.openvino.pipeline import OpenVinoPipeline

        check_options(plan)
        return OpenVinoPipeline(plan, on_progress)
