"""Continuous batching: many jobs, one decode a step, on any runner."""

import time
from collections.abc import Callable
from typing import get_args

from msgspec import Struct

from localllm.engines.base import AdaptingRunner, Batch, EmbeddingRunner, Logits, Runner, Tokenizer
from localllm.engines.job import Delta, Job
from localllm.errors import EngineError, InvalidRequest, LocalLLMError
from localllm.inference.admission import check_job
from localllm.inference.pacing import PrefillPacer
from localllm.inference.prompt_cache import PromptCache
from localllm.inference.queue import AdmissionQueue
from localllm.inference.sequence import Sequence
from localllm.inference.slots import SlotTable
from localllm.inference.speculation.exactness import rows_are_exact
from localllm.inference.speculation.speculator import Drafter, Speculator
from localllm.inference.state_files import StateFiles
from localllm.inference.timings import StepTimings
from localllm.inference.turns import Turns, can_wait
from localllm.types import AdapterUse, ConstraintKind, EngineInfo, Sampling

SAMPLING_FIELDS = frozenset(Sampling.__struct_fields__)
CONSTRAINTS: frozenset[str] = frozenset(get_args(ConstraintKind))


class _Step(Struct):
    """What one decode does: `rows` are the sequences whose logits it brings, in row order; `readers` those that it
    reads a piece of the prompt for."""

    rows: list[Sequence]
    readers: list[Sequence]
    prompt_tokens: int


class Batcher:
    """An Engine over a Runner. Waiting jobs get slots as the queue orders them; prompts are read in pieces between
    the decode steps of the answers that already stream.

    `files` remember prompts beyond this process, `drafter` guesses ahead; both are optional. Greedy and seeded answers
    are guessed for only where that changes no logit, or with `guesses_always`; none while `spares_guessing` says so.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        max_queue: int = 64,
        files: StateFiles | None = None,
        drafter: Drafter | None = None,
        guesses_always: bool = False,
        spares_guessing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._runner = runner
        self._batch = Batch(runner.info.batch_tokens)
        self._slots = SlotTable(runner.info.slots, can_copy=runner.info.can_copy, tile_tokens=runner.info.tile_tokens)
        self._cache = PromptCache(runner, self._slots, files)
        self._pacer = PrefillPacer(runner.info.chunk_tokens)
        self.speculator = (
            Speculator(drafter, exact_tokens=runner.info.exact_tokens, is_always=guesses_always)
            if drafter and runner.info.can_rewind and runner.info.can_generate
            else None
        )
        self._spares_guessing = spares_guessing
        self._turns = Turns()
        self._queue: AdmissionQueue[Sequence] = AdmissionQueue(max_queue)
        self._running: list[Sequence] = []  # in slot order: a runner wants neighbours side by side
        self._faults: list[tuple[int, LocalLLMError]] = []
        self._adapters: tuple[AdapterUse, ...] = ()
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
            adapters=runner.adapters if isinstance(runner, AdaptingRunner) else (),
            embedding_width=runner.embedding_width if isinstance(runner, EmbeddingRunner) else None,
            constraints=CONSTRAINTS,
        )

    @property
    def is_busy(self) -> bool:
        """Whether any job waits or runs."""
        return bool(self._running or len(self._queue))

    @property
    def free_slots(self) -> int:
        """Slots that no job runs in."""
        return self._slots.free_count

    def start(self, job: Job) -> None:
        """Queue a job. Raises ContextOverflow, InvalidRequest or QueueFull."""
        self._check(job)
        sequence = Sequence(job, self.tokenizer, self.info.context_tokens)
        self._queue.put(sequence, free_slots=self.free_slots)

    def step(self) -> list[Delta]:
        """Give free slots to waiting jobs, decode once, and choose tokens for each answer."""
        began = time.perf_counter()
        self._admit()
        self._close_ranks()
        deltas = [Delta(job_id=job, queue_position=at) for job, at in self._queue.moved(self._running).items()]
        if not self._running:
            return deltas
        step = self._fill(self._turns.next(self._running))
        filled = time.perf_counter()
        logits = self._runner.decode(self._batch)
        decoded = time.perf_counter()
        self._pacer.measured(step.prompt_tokens, self._batch.size - step.prompt_tokens, decoded - filled)
        deltas += [_progress(sequence) for sequence in step.readers if sequence.pending_tokens]
        deltas += self._accept(step.rows, logits)
        if self.speculator and not step.readers:
            self.speculator.learn(len(step.rows), decoded - began)
        self.timings.add(
            python=filled - began + time.perf_counter() - decoded,
            decode=decoded - filled,
            is_counted=not step.readers,
        )
        return deltas

    def take_faults(self) -> list[tuple[int, LocalLLMError]]:
        """Jobs that could not go on since the last call, by id; they are over."""
        faults, self._faults = self._faults, []
        return faults

    def cancel(self, job_id: int) -> None:
        """Forget a job; its slot is free and its KV stays for reuse."""
        self._queue.remove(job_id)
        for sequence in self._running:
            if sequence.job.id == job_id:
                sequence.is_finished = True
        self._release_finished()

    def cancel_all(self) -> None:
        """Forget every job."""
        for sequence in [*self._queue.in_order(()), *self._running]:
            self.cancel(sequence.job.id)

    def idle(self) -> bool:
        """Use a moment in which nothing is to be done: learn what guessing ahead may be used for, or make a prompt
        outlive this process. Whether there may be more to do. Raises EngineError."""
        if self.is_busy:
            return False
        length = self.speculator.untried_length if self.speculator and not self._spares_guessing() else None
        if self.speculator and length is not None:
            slot = self._slots.emptiest()
            self._slots.lost(slot)
            self.speculator.tried(is_exact=rows_are_exact(self._runner, slot, length + 1))
            return True
        return self.put_away()

    def put_away(self) -> bool:
        """Make a prompt outlive this process. Whether there was one, and so may be more."""
        return not self.is_busy and self._cache.save_one()

    def close(self) -> None:
        """Free the runner."""
        self._running.clear()
        self._runner.close()

    def _check(self, job: Job) -> None:
        if not self._runner.info.can_generate:
            raise InvalidRequest("this model makes embeddings and no text; serve another one for that", param="model")
        check_job(job, vocab_size=self.info.vocab_size, context_tokens=self.info.context_tokens)

    def _admit(self) -> None:
        """Slots for waiting jobs. One whose beginning another job is just reading waits until it can be copied."""
        for sequence in self._queue.in_order(self._running) if len(self._queue) else ():
            shared = self._slots.shared(sequence)
            if shared.is_worth_waiting:
                continue
            placement = self._slots.place(shared)
            if placement is None:
                if not self._make_room(sequence):
                    return
                shared = self._slots.shared(sequence)
                placement = self._slots.place(shared)
            if placement is None:
                return
            self._queue.remove(sequence.job.id)
            sequence.admit(placement.slot, self._cache.fill(sequence, placement))
            self._slots.take(sequence)
            self._running.append(sequence)
            self._sort()

    def _make_room(self, sequence: Sequence) -> bool:
        """For an interactive job, the youngest batch job gives its slot away and waits; its KV stays as long as the
        slot allows. Whether one did."""
        batch = [running for running in self._running if running.is_batch]
        if sequence.is_batch or not batch:
            return False
        youngest = max(batch, key=lambda s: s.job.id)
        self._slots.release(youngest)
        self._running.remove(youngest)
        self._queue.put_back(youngest)
        return True

    def _close_ranks(self) -> None:
        """After a burst the jobs that go on may be scattered: one is moved a step."""
        move = self._slots.next_move() if len(self._running) > 1 else None
        if move is not None:
            self._cache.move(move)
            self._sort()

    def _sort(self) -> None:
        self._running.sort(key=lambda s: s.slot)

    def _fill(self, turn: list[Sequence]) -> _Step:
        """The next batch: rows for each answer, then pieces of prompts."""
        self._use_adapters(turn[0].job.adapters)
        self._batch.clear()
        streams = [sequence for sequence in turn if sequence.is_decoding]
        waiting = [sequence for sequence in turn if not sequence.is_decoding]
        if waiting and can_wait(streams, waiting, self._pacer.seconds(sum(s.pending_tokens for s in waiting))):
            streams = []
        share = max(1, self._batch.capacity // self.info.max_jobs)
        if self.speculator and not waiting and not self._spares_guessing():
            self.speculator.draft(streams, self._batch.capacity - share * len(streams))
        rows: list[Sequence] = []
        for sequence in streams:
            self._add_rows(sequence, min(sequence.pending_tokens, share), rows)
        stream_rows = self._batch.size
        readers = self._add_prompts(waiting, streams, rows)
        return _Step(rows, readers, self._batch.size - stream_rows)

    def _add_prompts(self, waiting: list[Sequence], streams: list[Sequence], rows: list[Sequence]) -> list[Sequence]:
        """Pieces of the prompts that wait, as much as may go beside the streams; returns those that are read."""
        left = min(self._pacer.budget(is_alone=not streams), self._batch.capacity - self._batch.size)
        is_interactive = any(not sequence.is_batch for sequence in streams)
        readers: list[Sequence] = []
        for sequence in sorted(waiting, key=lambda s: (s.is_batch, s.job.id)):
            if sequence.is_batch and is_interactive:
                left = min(left, self._pacer.budget(is_alone=False, is_for_batch=True))
            if readers and left < sequence.pending_tokens:
                break  # only the first is read in part, so that how the others are read does not depend on it
            count = min(left, sequence.pending_tokens)
            if sequence.pending_tokens - count == 1 < count:
                count -= 1  # no row is left to be read alone
            self._add_rows(sequence, count, rows)
            readers.append(sequence)
            left -= count
        return readers

    def _add_rows(self, sequence: Sequence, count: int, rows: list[Sequence]) -> None:
        start = sequence.position
        tokens = sequence.tokens[start : start + count]
        is_last = count == sequence.pending_tokens
        if is_last:
            tokens.extend(sequence.draft)
            rows.append(sequence)
        else:
            sequence.draft = []
        self._batch.add(sequence.slot, start, tokens, logits=is_last * (1 + len(sequence.draft)))
        sequence.position += count

    def _use_adapters(self, adapters: tuple[AdapterUse, ...]) -> None:
        if adapters != self._adapters and isinstance(self._runner, AdaptingRunner):
            self._runner.use_adapters(adapters)
            self._adapters = adapters

    def _accept(self, rows: list[Sequence], logits: Logits) -> list[Delta]:
        deltas: list[Delta] = []
        at = 0
        for sequence in rows:
            drafted = len(sequence.draft)
            delta = self._accept_one(sequence, logits[at : at + 1 + drafted])
            at += 1 + drafted
            if sequence.accepted < drafted:
                sequence.position = self._runner.trim(sequence.slot, sequence.position)
            if delta is not None:
                deltas.append(delta)
        self._release_finished()
        return deltas

    def _accept_one(self, sequence: Sequence, rows: Logits) -> Delta | None:
        """A job whose own wishes cannot be met fails alone."""
        try:
            return sequence.accept(rows)
        except EngineError:
            raise
        except LocalLLMError as error:
            sequence.is_finished = True
            self._faults.append((sequence.job.id, error))
            return None

    def _release_finished(self) -> None:
        if any(s.is_finished for s in self._running):
            for sequence in self._running:
                if sequence.is_finished:
                    self._slots.release(sequence)
                    self._queue.ended()
            self._running = [s for s in self._running if not s.is_finished]


def _progress(sequence: Sequence) -> Delta:
    return Delta(job_id=sequence.job.id, prompt_done=sequence.position, prompt_total=len(sequence.job.tokens))
