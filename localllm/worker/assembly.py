"""What a worker runs: runner, batcher and embedder as its plan says."""

from pathlib import Path

import msgspec
from msgspec import Struct

from localllm.engines.base import OnProgress, Runner
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.inference.batcher import Batcher
from localllm.inference.embedding import Embedder
from localllm.inference.speculation.draft_model import DraftModel, check_vocabularies
from localllm.inference.speculation.lookup import PromptLookup
from localllm.inference.speculation.speculator import Drafter
from localllm.inference.state_files import StateFiles


class Engines(Struct, frozen=True):
    """All that answers, over one runner."""

    batcher: Batcher
    embedder: Embedder

    @property
    def are_busy(self) -> bool:
        """Whether any job waits or runs."""
        return self.batcher.is_busy or self.embedder.is_busy


def assemble(plan: LoadPlan, on_progress: OnProgress) -> Engines:
    """Load what the plan names. Raises LoadFailed or EngineUnavailable."""
    runner = load_runner(plan, on_progress)
    batcher = Batcher(
        runner,
        max_queue=plan.scheduling.max_queue,
        files=_files(plan, runner),
        drafter=_drafter(plan, runner),
        guesses_always=plan.scheduling.guessing == "always",
    )
    return Engines(batcher, Embedder(runner, runner.tokenizer.vocab_size))


def _files(plan: LoadPlan, runner: Runner) -> StateFiles | None:
    folder, budget_bytes = plan.scheduling.cache_path, plan.scheduling.cache_bytes
    if folder is None or not budget_bytes or not runner.info.state_key:
        return None
    return StateFiles(Path(folder), budget_bytes, runner.info.state_key)


def _drafter(plan: LoadPlan, runner: Runner) -> Drafter | None:
    path = plan.scheduling.draft_path
    if path is None or plan.scheduling.guessing == "off":
        return PromptLookup() if plan.scheduling.guessing != "off" and runner.info.gains_by_guessing else None
    draft = msgspec.structs.replace(
        plan,
        path=path,
        parts=(),
        beside={},
        sha256="",
        identity="",
        adapters={},
        context_tokens=runner.info.context_tokens,
        max_jobs=runner.info.slots,
    )
    drafter = load_runner(draft, lambda _: None)
    check_vocabularies(runner.tokenizer, drafter.tokenizer)
    return DraftModel(drafter)
