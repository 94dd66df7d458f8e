"""Jobs on a pipeline: the queue before it, stop strings and whole characters behind it, and what each answer cost."""

import time

from localllm.engines.base import Tokenizer
from localllm.engines.job import Delta, Job
from localllm.engines.pipeline import Emission, Pipeline
from localllm.errors import InvalidRequest, LocalLLMError, UnsupportedField
from localllm.inference.admission import check_job
from localllm.inference.answer_text import AnswerText
from localllm.inference.queue import AdmissionQueue
from localllm.inference.timings import StepTimings
from localllm.types import NEUTRAL, EngineInfo, FinishReason, Sampling, TokenLogprob, Usage

SEEN_TO_HERE = frozenset({"max_tokens", "stop"})


class _Answer:
    """A job and what has come of it."""

    def __init__(self, job: Job, tokenizer: Tokenizer, context_tokens: int) -> None:
        self.job = job
        self.is_finished = False
        room = context_tokens - len(job.tokens)
        wanted = job.sampling.max_tokens
        self.max_tokens = room if wanted is None else min(room, wanted)
        self._tokenizer = tokenizer
        self._text = AnswerText(tokenizer, job.sampling.stop)
        self._tokens = self._cached_tokens = 0
        self._arrived = time.perf_counter()
        self._admitted = self._first = self._last = 0.0

    def admit(self) -> None:
        """It is in the pipeline now."""
        self._admitted = time.perf_counter()

    def take(self, emission: Emission) -> Delta | None:
        """What there is to say of what came, if anything."""
        self._cached_tokens = max(self._cached_tokens, emission.cached_tokens)
        reason: FinishReason | None = "stop" if self._say(emission) else None
        if reason is None and emission.finish is not None:
            reason = "stop" if self._text.finish() else emission.finish
        text, logprobs = self._text.take(is_last=reason is not None)
        if reason is None:
            return Delta(job_id=self.job.id, text=text, logprobs=logprobs) if text or logprobs else None
        self.is_finished = True
        return Delta(job_id=self.job.id, text=text, finish=reason, usage=self._usage(), logprobs=logprobs)

    def _say(self, emission: Emission) -> bool:
        """Say what came; whether a stop string was met, after which nothing counts."""
        if emission.text_tokens or emission.text:
            self._count(emission.text_tokens)
            return self._text.add(emission.text)
        for at, token in enumerate(emission.tokens):
            self._count(1)
            if emission.logprobs:
                self._text.note(TokenLogprob(self._tokenizer.piece(token), emission.logprobs[at]))
            if self._text.add_token(token):
                return True
        return False

    def _count(self, tokens: int) -> None:
        self._last = time.perf_counter()
        if not self._tokens:
            self._first = self._last
        self._tokens += tokens

    def _usage(self) -> Usage:
        ended = time.perf_counter()
        first = self._first or ended  # nothing came but the end
        return Usage(
            prompt_tokens=len(self.job.tokens),
            cached_tokens=self._cached_tokens,
            completion_tokens=self._tokens,
            queue_seconds=self._admitted - self._arrived,
            prefill_seconds=first - self._admitted,
            decode_seconds=(self._last or first) - first,
        )


class PipelinedEngine:
    """An Engine over a Pipeline, which gets no more jobs than run at once: who waits, waits in our queue."""

    def __init__(self, pipeline: Pipeline, *, max_queue: int = 64) -> None:
        self._pipeline = pipeline
        self._queue: AdmissionQueue[_Answer] = AdmissionQueue(max_queue)
        self._running: dict[int, _Answer] = {}
        self._faults: list[tuple[int, LocalLLMError]] = []
        self.timings = StepTimings()
        self.tokenizer: Tokenizer = pipeline.tokenizer
        about = pipeline.info
        self.info = EngineInfo(
            engine=about.engine,
            build=about.build,
            device=about.device,
            context_tokens=about.context_tokens,
            max_jobs=about.max_jobs,
            threads=about.threads,
            vocab_size=pipeline.tokenizer.vocab_size,
            sampling=about.sampling | SEEN_TO_HERE,
            has_chat_template=pipeline.tokenizer.chat_template is not None,
            load_seconds=about.load_seconds,
            constraints=frozenset(about.constraints),
        )

    @property
    def is_busy(self) -> bool:
        """Whether any job waits or runs."""
        return bool(self._running or len(self._queue))

    def start(self, job: Job) -> None:
        """Queue a job. Raises ContextOverflow, UnsupportedField, InvalidRequest or QueueFull."""
        check_job(job, vocab_size=self.info.vocab_size, context_tokens=self.info.context_tokens)
        self._check_honoured(job)
        answer = _Answer(job, self.tokenizer, self.info.context_tokens)
        self._queue.put(answer, free_slots=self.info.max_jobs - len(self._running))

    def step(self) -> list[Delta]:
        """Let waiting jobs in, and say what came of those that run."""
        began = time.perf_counter()
        self._admit()
        deltas = [Delta(job_id=job, queue_position=at) for job, at in self._queue.moved(self._running.values()).items()]
        if not self._running:
            return deltas
        stepping = time.perf_counter()
        emissions = self._pipeline.step()
        stepped = time.perf_counter()
        for emission in emissions:
            answer = self._running.get(emission.job_id)
            if answer is None or answer.is_finished:  # several may come for one job
                continue
            delta = answer.take(emission)
            if delta is not None:
                deltas.append(delta)
        self._release_finished()
        python = stepping - began + time.perf_counter() - stepped
        self.timings.add(python=python, decode=stepped - stepping, is_counted=bool(emissions))
        return deltas

    def take_faults(self) -> list[tuple[int, LocalLLMError]]:
        """Jobs that the pipeline refused since the last call, by id; they are over."""
        faults, self._faults = self._faults, []
        return faults

    def cancel(self, job_id: int) -> None:
        """Forget a job; idempotent."""
        self._queue.remove(job_id)
        if self._running.pop(job_id, None) is not None:
            self._pipeline.cancel(job_id)

    def cancel_all(self) -> None:
        """Forget every job."""
        for answer in [*self._queue.in_order(()), *self._running.values()]:
            self.cancel(answer.job.id)

    def idle(self) -> bool:
        """There is nothing to be done meanwhile."""
        return False

    def put_away(self) -> bool:
        """There is nothing to be kept beyond this process."""
        return False

    def close(self) -> None:
        """Free the pipeline."""
        self._running.clear()
        self._pipeline.close()

    def _admit(self) -> None:
        while len(self._queue) and len(self._running) < self.info.max_jobs:
            answer = self._queue.in_order(self._running.values())[0]
            self._queue.remove(answer.job.id)
            answer.admit()
            try:
                self._pipeline.start(answer.job, answer.max_tokens)
            except InvalidRequest as error:
                self._faults.append((answer.job.id, error))
                continue
            self._running[answer.job.id] = answer

    def _release_finished(self) -> None:
        for answer in [answer for answer in self._running.values() if answer.is_finished]:
            self.cancel(answer.job.id)  # a stop string ended it, of which the pipeline knows nothing
            self._queue.ended()

    def _check_honoured(self, job: Job) -> None:
        """Raises UnsupportedField for what the pipeline would not do."""
        for name in Sampling.__struct_fields__:
            if name not in self.info.sampling and getattr(job.sampling, name) != getattr(NEUTRAL, name):
                raise UnsupportedField(f"the engine {self.info.engine} does not honour {name}", param=name)
        if job.wanted is not None and job.wanted.kind not in self.info.constraints:
            kinds = ", ".join(sorted(self.info.constraints)) or "none"
            raise UnsupportedField(
                f"the engine {self.info.engine} holds no answer to a {job.wanted.kind} (it knows: {kinds}); "
                "leave it out, or use --engine llama_cpp",
                param="response_format",
            )
        if job.adapters:
            raise UnsupportedField(f"the engine {self.info.engine} takes no LoRA adapters", param="lora")
