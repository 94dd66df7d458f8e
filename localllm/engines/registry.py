"""Engines by name; choosing one imports no other."""

from collections.abc import Callable

from localllm.engines.base import OnProgress, Runner
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineUnavailable


def _llama_cpp(plan: LoadPlan, on_progress: OnProgress) -> Runner:
    from localllm.engines.llama_cpp.runner import LlamaRunner

    return LlamaRunner(plan, on_progress)


def _echo(plan: LoadPlan, _on_progress: OnProgress) -> Runner:
    from localllm.engines.echo import EchoRunner

    return EchoRunner(plan)


def _executorch(plan: LoadPlan, on_progress: OnProgress) -> Runner:
    from localllm.engines.executorch.runner import ExecuTorchRunner

    return ExecuTorchRunner(plan, on_progress)


_RUNNERS: dict[str, Callable[[LoadPlan, OnProgress], Runner]] = {
    "llama_cpp": _llama_cpp,
    "executorch": _executorch,
    "echo": _echo,
}


def load_runner(plan: LoadPlan, on_progress: OnProgress) -> Runner:
    """Load the model of `plan` with the engine it names. Raises LoadFailed or EngineUnavailable."""
    loader = _RUNNERS.get(plan.engine)
    if loader is None:
        raise EngineUnavailable(f"no engine named {plan.engine!r}; there are {', '.join(sorted(_RUNNERS))}")
    return loader(plan, on_progress)
