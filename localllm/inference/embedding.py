"""Embedding jobs: many texts to vectors, a few at a time, so that answers go on streaming in between."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from localllm.engines.base import EmbeddingRunner, Runner, Vectors
from localllm.errors import ContextOverflow, InvalidRequest
from localllm.types import Embeddings

INPUTS_AT_ONCE = 16


class EmbedJob(Struct, frozen=True, kw_only=True):
    """Token ids of each input; `id` is unique among all running jobs."""

    id: int
    inputs: tuple[tuple[int, ...], ...]
    is_batch: bool = False


class _Progress(Struct):
    job: EmbedJob
    vectors: list[Vectors]


class Embedder:
    """Works on one job after the other, interactive ones first."""

    def __init__(self, runner: Runner | None, vocab_size: int) -> None:
        able: object = runner
        self._runner = able if isinstance(able, EmbeddingRunner) and able.embedding_width else None
        self._vocab_size = vocab_size
        self._jobs: deque[_Progress] = deque()

    @property
    def is_busy(self) -> bool:
        """Whether any job waits."""
        return bool(self._jobs)

    def start(self, job: EmbedJob) -> None:
        """Take a job. Raises InvalidRequest or ContextOverflow, naming the input at fault."""
        if self._runner is None:
            raise InvalidRequest("this model makes no embeddings; serve an embedding model for that", param="model")
        for at, tokens in enumerate(job.inputs):
            if not tokens:
                raise InvalidRequest(f"input {at} is empty", param="input")
            if min(tokens) < 0 or max(tokens) >= self._vocab_size:
                raise InvalidRequest(f"input {at}: token ids go from 0 to {self._vocab_size - 1}", param="input")
            if len(tokens) > self._runner.embedding_tokens:
                most = self._runner.embedding_tokens
                text = f"input {at} has {len(tokens)} tokens, the model embeds up to {most}; shorten or split it"
                raise ContextOverflow(text, param="input")
        self._jobs.append(_Progress(job, []))

    def step(self) -> tuple[int, Embeddings] | None:
        """One call of the runner; the job that it completes, if it does. Raises EngineError."""
        if self._runner is None or not self._jobs:
            return None
        current = min(self._jobs, key=lambda progress: progress.job.is_batch)
        done = sum(map(len, current.vectors))
        current.vectors.append(self._runner.embed(self._next(current.job.inputs[done:])))
        if done + len(current.vectors[-1]) < len(current.job.inputs):
            return None
        self._jobs.remove(current)
        vectors = np.concatenate(current.vectors).astype("<f4")
        tokens = sum(map(len, current.job.inputs))
        return current.job.id, Embeddings(vectors=tuple(row.tobytes() for row in vectors), prompt_tokens=tokens)

    def cancel(self, job_id: int) -> None:
        """Forget a job; idempotent."""
        self._jobs = deque(progress for progress in self._jobs if progress.job.id != job_id)

    def _next(self, inputs: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """As many of the inputs as fit into one call, at least one."""
        left = self._runner.embedding_tokens if self._runner else 0
        chosen: list[tuple[int, ...]] = []
        for tokens in inputs[:INPUTS_AT_ONCE]:
            left -= len(tokens)
            if left < 0:
                break
            chosen.append(tokens)
        return chosen
