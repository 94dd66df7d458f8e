"""What a worker runs: the engine that its plan says, under the batcher or as a pipeline, and an embedder."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from localllm.devices.thrift import Thrift
from localllm.engines.base import OnProgress, Runner
from localllm.engines.kind import is_pipeline, is_runner
from localllm.engines.pipeline import Pipeline
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_engine, load_runner
from localllm.errors import EngineUnavailable, LoadFailed
from localllm.inference.batcher import Batcher
from localllm.inference.embedding import Embedder
from localllm.inference.pipelined import PipelinedEngine
from localllm.inference.speculation.draft_model import DraftModel, check_vocabularies
from localllm.inference.speculation.lookup import PromptLookup
from localllm.inference.speculation.speculator import Drafter
from localllm.inference.state_files import StateFiles


class Engines(Struct, frozen=True):
    """All that answers, over one loaded model."""

    engine: Batcher | PipelinedEngine
    embedder: Embedder

    @property
    def has_logits(self) -> bool:
        """Whether grammars are ours to hold answers to."""
        return isinstance(self.engine, Batcher)

    @property
    def are_busy(self) -> bool:
        """Whether any job waits or runs."""
        return self.engine.is_busy or self.embedder.is_busy


def assemble(plan: LoadPlan, on_progress: OnProgress) -> Engines:
    """Load what the plan names. Raises LoadFailed, EngineUnavailable or ConfigError."""
    loaded = load_engine(plan, on_progress)
    if is_runner(loaded):
        return _batched(plan, loaded)
    if is_pipeline(loaded):
        return _pipelined(plan, loaded)
    raise EngineUnavailable(f"the engine {plan.engine} loaded what is neither a runner nor a pipeline")


def _batched(plan: LoadPlan, runner: Runner) -> Engines:
    batcher = Batcher(
        runner,
        max_queue=plan.scheduling.max_queue,
        files=_files(plan, runner),
        drafter=_drafter(plan, runner),
        guesses_always=plan.scheduling.guessing == "always",
        spares_guessing=_spares_guessing(plan),
    )
    return Engines(batcher, Embedder(runner, runner.tokenizer.vocab_size))


def _spares_guessing(plan: LoadPlan) -> Callable[[], bool]:
    """Who names the number of threads wants nothing spared."""
    if plan.threads:
        return lambda: False
    thrift = Thrift(plan.prefer)
    return lambda: thrift.spares_guessing


def _pipelined(plan: LoadPlan, pipeline: Pipeline) -> Engines:
    """Raises LoadFailed for what is asked of an engine that keeps its logits to itself."""
    if plan.adapters:
        pipeline.close()
        raise LoadFailed(f"the engine {plan.engine} takes no LoRA adapters; leave them out, or use llama_cpp")
    if plan.scheduling.draft_path is not None:
        pipeline.close()
        raise LoadFailed(f"the engine {plan.engine} takes no draft model; leave it out, or use llama_cpp")
    return Engines(PipelinedEngine(pipeline, max_queue=plan.scheduling.max_queue), Embedder(None, 0))


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
        kv_type="f16",  # that of the model need not suit the other's heads
        context_tokens=runner.info.context_tokens,
        max_jobs=runner.info.slots,
    )
    drafter = load_runner(draft, lambda _: None)
    check_vocabularies(runner.tokenizer, drafter.tokenizer)
    return DraftModel(drafter)
