"""OpenVinoPipeline: OpenVINO's own continuous batching, a step at a time."""

import itertools
import time
from typing import Protocol

import numpy as np
import openvino as ov
import openvino_genai as genai

from localllm.devices.cpu import usable_cores
from localllm.engines.base import OnProgress, Tokenizer
from localllm.engines.job import Job
from localllm.engines.openvino.devices import remedy_for
from localllm.engines.openvino.grammar import KINDS, structured
from localllm.engines.openvino.grammar_check import GrammarCheck
from localllm.engines.openvino.loading import Target, load
from localllm.engines.openvino.native import build, line, open_core
from localllm.engines.openvino.sampling import HONOURED, generation_config
from localllm.engines.pipeline import Emission, PipelineInfo
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineError, EngineUnavailable, InvalidRequest
from localllm.types import FinishReason

_LENGTH = genai.GenerationFinishReason.LENGTH
_STOP = genai.GenerationFinishReason.STOP


class _Output(Protocol):
    """What came of a request since it was last read."""

    generated_ids: list[int]
    generated_log_probs: list[float]
    finish_reason: genai.GenerationFinishReason


class _Handle(Protocol):
    """A request, as openvino_genai has it in a class that it does not export."""

    def can_read(self) -> bool: ...

    def read(self) -> dict[int, _Output]: ...

    def get_status(self) -> genai.GenerationStatus: ...

    def cancel(self) -> None: ...


class _Running:
    """A job in the pipeline."""

    __slots__ = ("handle", "wants_logprobs")

    def __init__(self, handle: _Handle, *, wants_logprobs: bool) -> None:
        self.handle = handle
        self.wants_logprobs = wants_logprobs


class OpenVinoPipeline:
    """Runs a GGUF or a model of OpenVINO's own on one of its devices. It reads prompts in pieces beside the answers,
    and keeps what it read until the room is needed; how much of a prompt it found again it does not tell."""

    def __init__(self, plan: LoadPlan, on_progress: OnProgress) -> None:
        """Raises LoadFailed or EngineUnavailable."""
        started = time.perf_counter()
        target = Target(device=_device(plan), threads=plan.threads or usable_cores())
        loaded = load(plan, target, on_progress)
        self.tokenizer: Tokenizer = loaded.tokenizer
        self._native: genai.ContinuousBatchingPipeline | None = loaded.native
        self._check = GrammarCheck(loaded.grammars, loaded.vocabulary)
        self._end_tokens = loaded.tokenizer.end_tokens
        self._running: dict[int, _Running] = {}
        self._request_ids = itertools.count(1)  # never used again: a cancelled request leaves at the next step
        self._has_leaving = False
        self.info = PipelineInfo(
            engine="openvino",
            build=build(),
            device=target.device.lower(),
            context_tokens=loaded.blocks.context_tokens,
            max_jobs=loaded.blocks.jobs,
            threads=target.threads,
            load_seconds=time.perf_counter() - started,
            sampling=HONOURED,
            constraints=KINDS,
        )
        on_progress(1.0)

    def start(self, job: Job, max_tokens: int) -> None:
        """Take a job; see Pipeline."""
        config = generation_config(job, max_tokens, self._end_tokens)
        if job.wanted is not None:
            config.structured_output_config = structured(job.wanted)
            self._check.check(config)
        if self._has_leaving:  # they hold their KV until a step: without room the new one would be dropped
            self._advance()
        prompt = ov.Tensor(np.array([job.tokens], np.int64))
        try:
            handle = self._pipeline.add_request(next(self._request_ids), prompt, config)
        except RuntimeError as error:
            raise InvalidRequest(f"OpenVINO refuses this request: {line(error)}") from error
        self._running[job.id] = _Running(handle, wants_logprobs=job.sampling.logprobs is not None)

    def step(self) -> list[Emission]:
        """Everybody's next token, and a piece of the prompts; see Pipeline."""
        if not self._running:
            return []
        self._advance()
        emissions: list[Emission] = []
        for job_id, running in list(self._running.items()):
            if running.handle.can_read():
                emissions.append(self._read(job_id, running))
            elif running.handle.get_status() != genai.GenerationStatus.RUNNING:
                raise EngineError("OpenVINO dropped an answer for want of memory; lower --context or --parallel")
        return emissions

    def cancel(self, job_id: int) -> None:
        """Forget a job; its KV is free before the next one is taken."""
        running = self._running.pop(job_id, None)
        if running is not None:
            running.handle.cancel()
            self._has_leaving = True

    def close(self) -> None:
        """Free the model and its KV."""
        for job_id in list(self._running):
            self.cancel(job_id)
        self._native = None
        self._check.close()

    @property
    def _pipeline(self) -> genai.ContinuousBatchingPipeline:
        if self._native is None:
            raise EngineError("the pipeline is closed")
        return self._native

    def _advance(self) -> None:
        """One step of OpenVINO's. What it brings waits in the handles."""
        try:
            self._pipeline.step()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO could not go on: {line(error)}") from error
        self._has_leaving = False

    def _read(self, job_id: int, running: _Running) -> Emission:
        tokens: list[int] = []
        logprobs: list[float] = []
        finish: FinishReason | None = None
        while running.handle.can_read():
            for output in running.handle.read().values():
                tokens += output.generated_ids
                if running.wants_logprobs:
                    logprobs += output.generated_log_probs
                finish = _finish(output.finish_reason) or finish
        if finish is not None:
            del self._running[job_id]
            if finish == "stop" and tokens and tokens[-1] in self._end_tokens:
                del tokens[-1], logprobs[-1:]
        return Emission(job_id=job_id, tokens=tuple(tokens), logprobs=tuple(logprobs), finish=finish)


def _finish(reason: genai.GenerationFinishReason) -> FinishReason | None:
    if reason == _STOP:
        return "stop"
    return "length" if reason == _LENGTH else None


def _device(plan: LoadPlan) -> str:
    """The one device of the plan, the CPU where it names none. Raises EngineUnavailable with what would bring it."""
    core = open_core()
    wanted = plan.placement.devices or ("CPU",)
    if len(wanted) > 1:
        raise EngineUnavailable(f"OpenVINO computes on one device at a time, not on {', '.join(wanted)}; name one")
    here = tuple(core.available_devices)
    name = wanted[0].upper()
    if name not in here and not any(device.startswith(f"{name}.") for device in here):
        raise EngineUnavailable(
            f"OpenVINO finds no device {wanted[0][:40]!r}, only {', '.join(here) or 'none'}; {remedy_for(wanted[0])}"
        )
    return name
