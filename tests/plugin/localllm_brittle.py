"""An engine that loads only what its options allow, and fails as they say: for tests of loading with less."""

import os
import signal

from localllm.engines.back_ends import EngineReport
from localllm.engines.base import OnProgress, Runner
from localllm.engines.echo import EchoRunner
from localllm.engines.plan import LoadPlan, check_options
from localllm.errors import LoadFailed, NoRoom

MOST_TOKENS = 8192  # what is chosen where nobody names a context


class Brittle:
    """Options: gpu_layers, jobs, tokens: the most that goes well; path: the one file; how: what happens otherwise."""

    name, formats = "brittle", frozenset({"brittle"})

    def report(self) -> EngineReport:
        return EngineReport(engine=self.name, is_usable=True)

    def load(self, plan: LoadPlan, on_progress: OnProgress) -> Runner:
        check_options(plan, frozenset({"gpu_layers", "jobs", "tokens", "path", "how"}))
        if not self._is_well(plan):
            self._fail(plan.options.get("how", "room"))
        rate = LoadPlan(engine="echo", path="", context_tokens=plan.context_tokens, max_jobs=plan.max_jobs)
        return EchoRunner(rate)

    def _is_well(self, plan: LoadPlan) -> bool:
        most = {name: int(plan.options.get(name, 99_999)) for name in ("gpu_layers", "jobs", "tokens")}
        return (
            plan.placement.gpu_layers <= most["gpu_layers"]
            and (plan.max_jobs or 16) <= most["jobs"]
            and (plan.context_tokens or MOST_TOKENS) <= most["tokens"]
            and plan.path == plan.options.get("path", plan.path)
        )

    def _fail(self, how: str) -> None:
        if how == "room":
            raise NoRoom("no room for it")
        if how == "refused":
            raise LoadFailed("the driver refuses it")
        if how == "abort":
            os.abort()
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does where memory runs out
