"""What enters each weight matrix while a model reads: sums of squares, as llama.cpp's tools/imatrix collects them."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import llama_cpp as lib

from localllm.engines.base import Batch
from localllm.engines.llama_cpp import ggml, native
from localllm.engines.llama_cpp.batch import LlamaBatch
from localllm.engines.llama_cpp.square_sums import SquareSums, expert_sums, product_sums
from localllm.engines.llama_cpp.tensor_view import TensorView, open_tensor_view
from localllm.engines.llama_cpp.tokenizer import LlamaTokenizer
from localllm.errors import EngineError, InvalidRequest
from localllm.models.gguf.facts import facts_of
from localllm.models.gguf.header import read_header
from localllm.models.on_disk import parts_of, unreadable

MOST_OUTPUT_BYTES = 128 * 2**20  # of logits at once, which nobody wants, but which the last layer runs for
_LOGIT_BYTES = 4

_WEIGHTS = "blk."  # not output.weight, nor token_embd.weight: upstream leaves them out as well (--process-output)


class ProductWatcher:
    """Adds up what enters the products with weights; called by ggml for every node of a graph.

    An exception cannot leave a callback: it is kept in `failure`, and the rest of the evaluation is left out.
    """

    def __init__(self, view: TensorView, *, may_stop: bool) -> None:
        self.sums: dict[str, SquareSums] = {}
        self.failure: BaseException | None = None
        self._view = view
        self._may_stop = may_stop
        self._known: dict[tuple[int, int | None, int, int], SquareSums] = {}  # by the addresses of what was read
        self._products = 0
        self._last = ""
        self._end: tuple[int, str] | None = None

    def begin(self) -> None:
        """A graph will be evaluated: addresses may stand for other tensors now."""
        self._known.clear()
        self._products = 0

    def finish(self) -> None:
        """It was. Raises what went wrong in it.

        If evaluations may stop, then from now on after as many products: what follows the last is the output alone.
        """
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if self._may_stop and self._end is None:
            self._end = (self._products, self._last)

    def __call__(self, address: int, is_question: bool, _user_data: int | None) -> bool:
        """Whether the tensor at `address` is wanted; after that, when it is computed, whether to go on."""
        try:
            if self.failure is not None:
                return False
            return self._is_wanted(address) if is_question else self._take(address)
        except BaseException as error:  # ctypes would only print it
            self.failure = error
            return False

    def _is_wanted(self, address: int) -> bool:
        node = self._view.fields(address)
        if node.op not in (self._view.mul_mat, self._view.mul_mat_id):
            return False
        name = weight_name(self._view.fields(node.src[0]).name)
        return name.startswith(_WEIGHTS) and " " not in name and self._view.fields(node.src[1]).type == ggml.F32

    def _take(self, address: int) -> bool:
        node = self._view.fields(address)
        name = weight_name(self._view.fields(node.src[0]).name)
        sums = self._sums_of(node)
        if not sums.are_finite:
            raise EngineError(f"what enters {name} is not finite: this model is damaged, or was converted wrongly")
        self.sums[name] = self.sums[name].plus(sums) if name in self.sums else sums
        self._products += 1
        self._last = name
        return (self._products, name) != self._end

    def _sums_of(self, node: ggml.TensorFields) -> SquareSums:
        """Of one product; known already where another one read the same, as queries, keys and values do."""
        weights = self._view.fields(node.src[0])
        outer, inner = int(weights.ne[3]), int(weights.ne[2])
        choices = node.src[2] if node.op == self._view.mul_mat_id else None
        key = (node.src[1], choices, outer, inner)
        if key not in self._known:
            inputs = self._view.floats(node.src[1])
            if choices is None:
                self._known[key] = product_sums(inputs, (outer, inner))
            else:
                self._known[key] = expert_sums(inputs, self._view.integers(choices), inner)
        return self._known[key]


def weight_name(name: bytes) -> str:
    """The name in the file: ggml makes CUDA0#blk.0.attn_k.weight#0 of it where it copies weights."""
    parts = name.decode("utf-8", "replace").split("#")
    return parts[1] if len(parts) > 1 else parts[0]


class ActivationCollector:
    """A model that reads text, and what enters its weights meanwhile. Owned by one thread.

    Every row asks for its logits, else the last layer would see none but the last. So that they stay small, a chunk
    is read in pieces where the vocabulary is large.
    """

    def __init__(self, path: str, *, chunk_tokens: int, threads: int) -> None:
        """`path` may be of any part of a split model.

        Raises ModelNotFound, LoadFailed, EngineUnavailable where tensors cannot be looked into, InvalidRequest for a
        model that generates nothing or has less context than a chunk.
        """
        view = open_tensor_view()
        self._model = native.load_model(_checked_parts(path), lambda _fraction: None)
        self._context: native.Handle = None
        try:
            self.tokenizer = LlamaTokenizer(self._model)
            self._check_model(path, chunk_tokens)
            self._watcher = ProductWatcher(view, may_stop=not self._keeps_state())
            self._callback = lib.ggml_backend_sched_eval_callback(self._watcher)  # the library keeps the pointer alone
            self._piece_tokens = piece_tokens(chunk_tokens, self.tokenizer.vocab_size)
            self._context = self._open_context(chunk_tokens, threads)
        except BaseException:
            self.close()
            raise
        self._batch = Batch(self._piece_tokens)
        self._native_batch = LlamaBatch(self._piece_tokens)

    def __enter__(self) -> "ActivationCollector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def first_token(self) -> int | None:
        """What the model wants at the beginning of every text (BOS)."""
        vocabulary = lib.llama_model_get_vocab(self._model)
        return int(lib.llama_vocab_bos(vocabulary)) if lib.llama_vocab_get_add_bos(vocabulary) else None

    @property
    def sums(self) -> dict[str, SquareSums]:
        """By names of tensors, as far as they were read."""
        return self._watcher.sums

    def read(self, tokens: Sequence[int]) -> None:
        """Read a chunk from its beginning. Raises EngineError, also where what enters a matrix is not finite."""
        lib.llama_memory_clear(lib.llama_get_memory(self._context), False)
        for start in range(0, len(tokens), self._piece_tokens):
            self._read_piece(start, tokens[start : start + self._piece_tokens])

    def close(self) -> None:
        """Free the context and the model; idempotent."""
        if self._context is not None:
            lib.llama_free(self._context)
        if self._model is not None:
            lib.llama_model_free(self._model)
        self._context = self._model = None

    def _read_piece(self, start: int, tokens: Sequence[int]) -> None:
        self._batch.clear()
        self._batch.add(0, start, tokens, logits=len(tokens))
        self._native_batch.fill(self._batch)
        self._watcher.begin()
        status = lib.llama_decode(self._context, self._native_batch.struct)
        lib.llama_synchronize(self._context)
        self._watcher.finish()
        if status:
            raise EngineError(f"llama.cpp could not decode (status {status}): {native.recent_log()}")

    def _keeps_state(self) -> bool:
        """A recurrent model may write its state at the end of an evaluation."""
        return bool(lib.llama_model_is_recurrent(self._model) or lib.llama_model_is_hybrid(self._model))

    def _check_model(self, path: str, chunk_tokens: int) -> None:
        if lib.llama_model_has_encoder(self._model):
            raise InvalidRequest(f"{path} has an encoder, which cannot be calibrated here; use --calibrate none")
        trained = int(lib.llama_model_n_ctx_train(self._model))
        if chunk_tokens > trained:
            raise InvalidRequest(f"{path} reads {trained} tokens at most, not chunks of {chunk_tokens}")

    def _open_context(self, chunk_tokens: int, threads: int) -> native.Handle:
        context = native.new_context(
            self._model,
            n_ctx=chunk_tokens,
            n_batch=self._piece_tokens,
            n_ubatch=self._piece_tokens,
            n_seq_max=1,
            n_threads=threads,
            n_threads_batch=threads,
            no_perf=True,
            cb_eval=self._callback,
        )
        if not lib.llama_get_memory(context):
            lib.llama_free(context)
            raise InvalidRequest("this model makes embeddings only and cannot be calibrated here; use --calibrate none")
        return context


def _checked_parts(path: str) -> list[str]:
    """All files of the model, whose headers are right and belong together."""
    try:
        parts = parts_of(Path(path))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    facts_of([read_header(part) for part in parts])
    return [str(part) for part in parts]


def piece_tokens(chunk_tokens: int, vocabulary: int) -> int:
    """How many rows to decode at once, all with logits: pieces of a chunk that are about equally long."""
    pieces = math.ceil(chunk_tokens * vocabulary * _LOGIT_BYTES / MOST_OUTPUT_BYTES)
    return math.ceil(chunk_tokens / pieces)
