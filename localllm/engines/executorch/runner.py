"""ExecuTorchRunner: programs (.pte) of ExecuTorch, one copy of the program for each slot."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from localllm.devices.cpu import available_memory_bytes, usable_cores
from localllm.engines.base import Batch, Logits, OnProgress, RunnerInfo
from localllm.engines.executorch.digest import check_digest
from localllm.engines.executorch.facts import ProgramFacts, read_facts
from localllm.engines.executorch.memory import fit_copies
from localllm.engines.executorch.native import Runtime, open_runtime
from localllm.engines.executorch.program import Program, open_native, require
from localllm.engines.executorch.tokenizer import HubTokenizer
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineError, LoadFailed
from localllm.models.pte.header import ProgramFacts as ProgramFile
from localllm.models.pte.header import read_program

BATCH_TOKENS = 512
CHUNK_TOKENS = 256
TILE_TOKENS = 64  # of attention; greedy answers of 135M parameters were other the second time without (measured)
PADDING_TOKENS = 1024  # models have up to so many rows more than their tokenizer has tokens (Phi-2: 905)

_OPENED, _READ = 0.4, 0.6  # share of the load that is done then


class ExecuTorchRunner:
    """Runs a .pte program that keeps a KV cache.

    A program holds one text, so each slot is a copy of it, loaded when the first rows come for the slot. Rows of
    several slots run one slot after the other, and each row whose logits are wanted is the last of a call: a program
    gives those of the last token alone. KV never leaves a copy: there is no copying and no saving. `flash_attention`
    means nothing here, for a program brings its attention along.
    """

    def __init__(self, plan: LoadPlan, on_progress: OnProgress) -> None:
        """Raises LoadFailed, NoRoom, IntegrityError or EngineUnavailable."""
        started = time.perf_counter()
        if plan.adapters:
            raise LoadFailed(
                f"LoRA adapters ({', '.join(plan.adapters)}) do not fit a .pte program; leave them out, or run the GGUF"
            )
        self._path = Path(plan.path)
        file = read_program(self._path)
        self._runtime = _open_beside_digest(plan, self._path)
        on_progress(_OPENED)
        facts = read_facts(open_native(self._runtime, self._path), self._path)
        self.tokenizer = HubTokenizer.load(plan.beside, end_tokens=facts.end_tokens, bos_token=facts.bos_token)
        _check_vocabularies(facts, self.tokenizer.vocab_size)
        self._facts = _within(facts, plan.context_tokens)
        on_progress(_READ)
        self._programs = self._open_slots(plan.max_jobs, file)
        self.info = RunnerInfo(
            engine="executorch",
            build=self._runtime.build,
            device="cpu",
            context_tokens=self._facts.context_tokens,
            slots=len(self._programs),
            batch_tokens=BATCH_TOKENS,
            chunk_tokens=min(CHUNK_TOKENS, self._facts.most_tokens),
            threads=self._runtime.threads,
            load_seconds=time.perf_counter() - started,
            can_copy=False,
            tile_tokens=TILE_TOKENS,
            gains_by_guessing=False,
        )
        self._logits = np.empty((len(self._programs), self.tokenizer.vocab_size), np.float32)
        on_progress(1.0)

    def decode(self, batch: Batch) -> Logits:
        """The logits are a copy, valid until the next decode."""
        if len(self._logits) < batch.outputs:
            self._logits = np.empty((batch.outputs, self.tokenizer.vocab_size), np.float32)
        row = 0
        for first, last in pieces(batch, self._facts.most_tokens):
            program = self._program(int(batch.slots[first]))
            logits = program.step(batch.tokens[first:last], int(batch.positions[first]))
            if batch.wants_logits[last - 1]:
                self._logits[row] = logits[: self.tokenizer.vocab_size]
                row += 1
        return self._logits[:row]

    def copy_prefix(self, source: int, target: int, tokens: int) -> int:
        """Only within a slot: KV cannot leave the copy of the program that made it."""
        return self.trim(target, tokens if source == target else 0)

    def trim(self, slot: int, tokens: int) -> int:
        """Set the position back: what lies behind it is not attended to, and is written over."""
        program = self._programs[slot]
        return program.trim(tokens) if program else 0

    def save(self, _slot: int) -> bytes | None:
        """There is no way to a program's KV from outside."""
        return None

    def restore(self, slot: int, _state: bytes) -> int:
        """Nor a way back."""
        return self.trim(slot, 0)

    def close(self) -> None:
        """Free every copy."""
        self._programs = []

    def _program(self, slot: int) -> Program:
        """The copy of a slot, loaded if it is not. Raises EngineError."""
        if not 0 <= slot < len(self._programs):
            raise EngineError(f"a row came for slot {slot} of {len(self._programs)}")
        program = self._programs[slot]
        if program is None:
            try:
                program = self._programs[slot] = Program(self._runtime, self._path, self._facts)
            except LoadFailed as error:
                raise EngineError(f"no room for one more answer at once: {error.message}; lower --parallel") from error
        return program

    def _open_slots(self, jobs: int | None, file: ProgramFile) -> list[Program | None]:
        """The first slot's program, tried out, and room for the others. Raises LoadFailed, NoRoom."""
        require(file, self._runtime, self._path)
        count = fit_copies(
            program_bytes=file.size_bytes,
            planned_bytes=file.planned_bytes,
            available_bytes=available_memory_bytes(),
            jobs=jobs,
        )
        first = Program(self._runtime, self._path, self._facts)
        first.check()
        return [first, *[None] * (count - 1)]


def pieces(batch: Batch, most_tokens: int) -> Iterator[tuple[int, int]]:
    """The calls that make up a batch, as rows [first, last): of one slot, at positions that follow each other, no more
    than `most_tokens`, and no row but the last wants logits."""
    size = batch.size
    if size == 1:  # an answer alone: the usual case, and the one where microseconds count
        yield 0, 1
        return
    slots, positions = batch.slots[:size], batch.positions[:size]
    is_end = batch.wants_logits[:size].copy()
    is_end[:-1] |= (slots[1:] != slots[:-1]) | (positions[1:] != positions[:-1] + 1)
    is_end[-1:] = True
    first = 0
    for end in (np.flatnonzero(is_end) + 1).tolist():
        while first < end:
            last = min(end, first + most_tokens)
            yield first, last
            first = last


def _open_beside_digest(plan: LoadPlan, path: Path) -> Runtime:
    """The runtime; the file is hashed while torch is imported, which takes about as long."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        digest = pool.submit(check_digest, path, plan.sha256) if plan.sha256 else None
        runtime = open_runtime(plan.threads or usable_cores())
        if digest is not None:
            digest.result()
    return runtime


def _within(facts: ProgramFacts, wanted: int | None) -> ProgramFacts:
    """With the context that is wanted. Raises LoadFailed for more than the program holds."""
    if wanted is None:
        return facts
    if wanted > facts.context_tokens:
        raise LoadFailed(
            f"this program was exported for a context of {facts.context_tokens} tokens, {wanted} were asked for; "
            f"use --context {facts.context_tokens} or less, or export it again with --context {wanted}"
        )
    return msgspec.structs.replace(facts, context_tokens=wanted, most_tokens=min(facts.most_tokens, wanted))


def _check_vocabularies(facts: ProgramFacts, tokens: int) -> None:
    """Raises LoadFailed where the tokenizer must be another model's. A model may know more, as far as rows are padded
    to a round number; it may not know less: such a token is beyond its tables, in memory of something else."""
    padding = max(63, min(PADDING_TOKENS, facts.vocab_size // 32))
    if not facts.vocab_size - padding <= tokens <= facts.vocab_size:
        raise LoadFailed(
            f"tokenizer.json has {tokens} tokens and the program knows {facts.vocab_size}: one of them belongs to "
            "another model; get both again from where they came"
        )
