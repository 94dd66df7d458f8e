"""Embeddings: one vector of length 1 for each text, from a context of its own."""

from collections.abc import Iterator, Sequence

import llama_cpp as lib
import numpy as np

from localllm.engines.base import Batch, Vectors
from localllm.engines.llama_cpp import native
from localllm.engines.llama_cpp.batch import LlamaBatch
from localllm.errors import EngineError

DEFAULT_TOKENS = 2048
MAX_SEQUENCES = 16  # inputs of one native call

_POOLINGS = ("1", "2", "3")  # llama_pooling_type: mean, first token (CLS), last token; not 0 none, 4 rank


class LlamaEmbedder:
    """Pools as the model's file says (`<architecture>.pooling_type`). Its context is made at the first `embed`.

    `tokens` is the most of one call: non-causal models need the whole input in one micro-batch.
    """

    def __init__(self, model: native.Handle, *, context_tokens: int | None) -> None:
        self._model = model
        self._context: native.Handle = None
        trained = int(lib.llama_model_n_ctx_train(model))
        self.tokens = min(trained, context_tokens or DEFAULT_TOKENS)
        pooling = native.metadata(model, f"{native.architecture(model)}.pooling_type")
        self.width = int(lib.llama_model_n_embd_out(model)) if pooling in _POOLINGS else None

    def embed(self, inputs: Sequence[Sequence[int]], *, threads: int) -> Vectors:
        """float32 [len(inputs), width]; see EmbeddingRunner. Raises EngineError."""
        if self.width is None:
            raise EngineError("this model makes no embeddings: its file names no pooling")
        if any(not 0 < len(tokens) <= self.tokens for tokens in inputs):
            raise EngineError(f"an input to embed has 1 to {self.tokens} tokens")
        if self._context is None:
            self._open(threads)
        lib.llama_set_n_threads(self._context, threads, threads)
        rows = [row for group in _groups(inputs, self.tokens) for row in self._decode(group)]
        vectors = np.array(rows, np.float32).reshape(len(inputs), self.width)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
        unit: Vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return unit

    def close(self) -> None:
        """Free the context; idempotent."""
        if self._context is not None:
            lib.llama_free(self._context)
            self._context = None

    def _open(self, threads: int) -> None:
        # one KV for all sequences, since together they have no more than `tokens`
        self._context = native.new_context(
            self._model,
            n_ctx=self.tokens,
            n_batch=self.tokens,
            n_ubatch=self.tokens,
            n_seq_max=MAX_SEQUENCES,
            n_threads=threads,
            n_threads_batch=threads,
            kv_unified=True,
            embeddings=True,
            no_perf=True,
        )
        self._memory = lib.llama_get_memory(self._context)
        self._batch = Batch(self.tokens)
        self._native_batch = LlamaBatch(self.tokens)

    def _decode(self, inputs: Sequence[Sequence[int]]) -> list[Vectors]:
        """Pooled vectors of inputs that fit one native call."""
        self._batch.clear()
        for sequence, tokens in enumerate(inputs):
            self._batch.add(sequence, 0, tokens, logits=len(tokens))
        self._native_batch.fill(self._batch)
        has_decoder = self._memory and lib.llama_model_has_decoder(self._model)
        run = lib.llama_decode if has_decoder else lib.llama_encode
        status = run(self._context, self._native_batch.struct)
        if status:
            raise EngineError(f"llama.cpp could not embed (status {status}): {native.recent_log()}")
        rows = [self._pooled(sequence) for sequence in range(len(inputs))]
        if self._memory:
            lib.llama_memory_clear(self._memory, False)
        return rows

    def _pooled(self, sequence: int) -> Vectors:
        pointer = lib.llama_get_embeddings_seq(self._context, sequence)
        if not pointer:
            raise EngineError("llama.cpp gave no embedding for an input")
        return np.ctypeslib.as_array(pointer, (self.width or 0,)).copy()


def _groups(inputs: Sequence[Sequence[int]], tokens: int) -> Iterator[Sequence[Sequence[int]]]:
    """The inputs in order, in runs that fit one native call."""
    first = held = 0
    for index, item in enumerate(inputs):
        if index - first == MAX_SEQUENCES or held + len(item) > tokens:
            yield inputs[first:index]
            first, held = index, 0
        held += len(item)
    if first < len(inputs):
        yield inputs[first:]
