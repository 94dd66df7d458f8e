"""Continuous batching: many jobs, one decode a step, on any runner."""

import time
from collections import deque

from localllm.engines.base import Batch, Logits, Runner, Tokenizer
from localllm.engines.job import Delta, Job
from localllm.errors import ContextOverflow, InvalidRequest
from localllm.inference.pacing import PrefillPacer
from localllm.inference.sequence import Sequence
from localllm.inference.slots import SlotTable
from localllm.inference.timings import StepTimings
from localllm.types import EngineInfo, Sampling

SAMPLING_FIELDS = frozenset(Sampling.__struct_fields__)


class Batcher:
    """An Engine over a Runner. Waiting jobs get slots in order of arrival; prompts are read in pieces
    between the decode steps of the answers that already stream."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._batch = Batch(runner.info.batch_tokens)
        self._slots = SlotTable(runner.info.slots)
        self._pacer = PrefillPacer(runner.info.chunk_tokens)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # in slot order: a runner wants neighbours side by side
        self.timings = StepTimings()
        self.tokenizer: Tokenizer = runner.tokenizer
        self.info = EngineInfo(
            engine=runner.info.engine,
            build=runner.info.build,
            device=runner.info.device,
            context_tokens=runner.info.context_tokens,
            max_jobs=runner.info.slots,
            threads=runner.info.threads,
            vocab_size=runner.tokenizer.vocab_size,
            sampling=SAMPLING_FIELDS,
            has_chat_template=runner.tokenizer.chat_template is not None,
            load_seconds=runner.info.load_seconds,
        )

    @property
    def is_busy(self) -> bool:
        """Whether any job waits or runs."""
        return bool(self._running or self._waiting)

    def start(self, job: Job) -> None:
        """Queue a job."""
        self._check(job)
        self._waiting.append(Sequence(job, self.tokenizer, self.info.context_tokens))

    def step(self) -> list[Delta]:
        """Give free slots to waiting jobs, decode once, and choose a token for each answer."""
        began = time.perf_counter()
        self._admit()
        if not self._running:
            return []
        rows, prompt_tokens = self._fill()
        filled = time.perf_counter()
        logits = self._runner.decode(self._batch)
        decoded = time.perf_counter()
        self._pacer.measured(prompt_tokens, decoded - filled)
        deltas = self._accept(rows, logits)
        if not prompt_tokens:
            self.timings.add(python=filled - began + time.perf_counter() - decoded, decode=decoded - filled)
        return deltas

    def cancel(self, job_id: int) -> None:
        """Forget a job; its slot is free and its KV stays for reuse."""
        self._waiting = deque(s for s in self._waiting if s.job.id != job_id)
        for sequence in self._running:
            if sequence.job.id == job_id:
                sequence.is_finished = True
        self._release_finished()

    def close(self) -> None:
        """Free the runner."""
        self._waiting.clear()
        self._running.clear()
        self._runner.close()

    def _check(self, job: Job) -> None:
        if not job.tokens:
            raise InvalidRequest("the prompt is empty", param="prompt")
        if min(job.tokens) < 0 or max(job.tokens) >= self.info.vocab_size:
            raise InvalidRequest(f"token ids go from 0 to {self.info.vocab_size - 1}", param="prompt")
        bias = job.sampling.logit_bias
        if any(not 0 <= token < self.info.vocab_size for token in bias):
            raise InvalidRequest(f"token ids go from 0 to {self.info.vocab_size - 1}", param="logit_bias")
        if len(job.tokens) >= self.info.context_tokens:
            raise ContextOverflow(
                f"the prompt has {len(job.tokens)} tokens and the context holds {self.info.context_tokens}, "
                "with at least one for the answer; shorten the prompt or start with a larger --context",
                param="messages",
            )

    def _admit(self) -> None:
        """Slots for waiting jobs, first come first served."""
        while self._waiting:
            sequence = self._waiting[0]
            placement = self._slots.place(sequence.tokens)
            if placement is None:
                return
            self._waiting.popleft()
            if placement.source == placement.slot:
                held = self._runner.trim(placement.slot, placement.tokens)
            else:
                held = self._runner.copy_prefix(placement.source, placement.slot, placement.tokens)
            sequence.admit(placement.slot, held)
            self._slots.take(sequence)
            self._running.append(sequence)
            self._running.sort(key=lambda s: s.slot)

    def _fill(self) -> tuple[list[Sequence], int]:
        """The next batch: one row for each answer, then pieces of prompts. Returns the sequences whose logits
        it asks for, in row order, and the count of prompt tokens."""
        self._batch.clear()
        rows: list[Sequence] = []
        for sequence in self._running:
            if sequence.is_decoding:
                self._add_rows(sequence, 1, rows)
        budget = self._pacer.budget(is_alone=not rows)
        left = min(budget, self._batch.capacity - self._batch.size)
        budget = left
        for sequence in sorted(self._prefilling(), key=lambda s: s.job.id):
            count = min(left, sequence.pending_tokens)
            if count == 0:
                break
            self._add_rows(sequence, count, rows)
            left -= count
        return rows, budget - left

    def _prefilling(self) -> list[Sequence]:
        return [s for s in self._running if not s.is_decoding]

    def _add_rows(self, sequence: Sequence, count: int, rows: list[Sequence]) -> None:
        is_last = count == sequence.pending_tokens
        start = sequence.position
        self._batch.add(sequence.slot, start, sequence.tokens[start : start + count], logits=is_last)
        sequence.position += count
        if is_last:
            rows.append(sequence)

    def _accept(self, rows: list[Sequence], logits: Logits) -> list[Delta]:
        deltas = [
            Delta(job_id=s.job.id, prompt_done=s.position, prompt_total=len(s.tokens))
            for s in self._prefilling()
            if s.pending_tokens
        ]
        for sequence, row in zip(rows, logits, strict=True):
            delta = sequence.accept(row)
            if delta is not None:
                deltas.append(delta)
        self._release_finished()
        return deltas

    def _release_finished(self) -> None:
        if any(s.is_finished for s in self._running):
            for sequence in self._running:
                if sequence.is_finished:
                    self._slots.release(sequence)
            self._running = [s for s in self._running if not s.is_finished]
