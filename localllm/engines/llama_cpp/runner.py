"""LlamaRunner: one llama.cpp model and context, one KV stream for each slot."""

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path

import llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

from localllm.devices.contention import CoreMeter, ThreadGovernor
from localllm.devices.cpu import available_memory_bytes, usable_cores
from localllm.devices.footprint import check_flash_attention
from localllm.devices.thrift import Thrift
from localllm.engines.base import Batch, Logits, OnProgress, RunnerInfo, Vectors
from localllm.engines.llama_cpp import native
from localllm.engines.llama_cpp.adapters import LlamaAdapters
from localllm.engines.llama_cpp.batch import LlamaBatch, parts_of
from localllm.engines.llama_cpp.embedder import LlamaEmbedder
from localllm.engines.llama_cpp.kv import SlotMemory
from localllm.engines.llama_cpp.placement import (
    GGML_TYPES,
    LayerPlacement,
    flash_attention_of,
)
from localllm.engines.llama_cpp.states import fingerprint, state_key
from localllm.engines.llama_cpp.tokenizer import LlamaTokenizer
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineError, LoadFailed
from localllm.models.gguf.facts import facts_of
from localllm.models.gguf.header import read_header
from localllm.types import AdapterUse

BATCH_TOKENS = 2048
UBATCH_TOKENS = 512
CHUNK_TOKENS = 256

# Flash attention splits the KV of a lone row between threads from 512 cells on, which are allocated 256 at a time, and
# then adds up otherwise than for several rows (ggml-cpu/ops.cpp). Without it rows differed at 100 tokens (measured).
EXACT_TOKENS = 256


class LlamaRunner:
    """Runs a GGUF. KV is one stream per slot (kv_unified off): idle slots then cost the running ones nothing.

    Slots that run together should be neighbours: llama.cpp puts only consecutive streams into one micro-batch.
    """

    def __init__(self, plan: LoadPlan, on_progress: OnProgress) -> None:
        started = time.perf_counter()
        paths = plan.parts or (plan.path,)
        check_flash_attention(plan.kv_type, plan.flash_attention)
        headers = [read_header(Path(path)) for path in paths]
        self._placement = LayerPlacement(plan.placement, headers, facts_of(headers))
        # later, some weights would count twice
        room_bytes = max(0, available_memory_bytes() - self._placement.host_weights_bytes)
        self._model = native.load_model(paths, on_progress, self._placement.apply)
        if lib.llama_model_has_encoder(self._model) and lib.llama_model_has_decoder(self._model):
            raise LoadFailed(f"{plan.path} is an encoder-decoder model (like T5), which is not supported")
        self._adapters = LlamaAdapters(self._model, plan.adapters)
        self._threads = plan.threads or usable_cores()
        self._governor = None if plan.threads else ThreadGovernor(self._threads, CoreMeter(), Thrift(plan.prefer))
        self._last_step = 0.0
        self._context: native.Handle = None
        self._flash_attention = False
        slots = self._open_context(plan, room_bytes)
        layout = self._layout(plan, slots)
        self._kv = SlotMemory(self._model, self._context, layout, is_on_host=self._placement.is_on_cpu)
        self._batch = LlamaBatch(BATCH_TOKENS)
        self._embedder = LlamaEmbedder(self._model, context_tokens=plan.context_tokens)
        self.tokenizer = LlamaTokenizer(self._model)
        self.info = RunnerInfo(
            engine="llama_cpp",
            build=native.BUILD,
            device=self._placement.words,
            context_tokens=int(lib.llama_n_ctx_seq(self._context)),
            slots=slots,
            batch_tokens=BATCH_TOKENS,
            chunk_tokens=CHUNK_TOKENS,
            threads=self._threads,
            load_seconds=time.perf_counter() - started,
            can_generate=self._kv.exists,
            can_rewind=self._kv.can_rewind,
            exact_tokens=EXACT_TOKENS if self._flash_attention and self._placement.is_on_cpu else 0,
            state_key=state_key(plan, layout),
        )

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the LoRA adapters that were loaded."""
        return self._adapters.names

    @property
    def embedding_width(self) -> int | None:
        """Numbers in a vector; None for a model whose file names no pooling, as chat models do not."""
        return self._embedder.width

    @property
    def embedding_tokens(self) -> int:
        """The most tokens of one call of `embed`."""
        return self._embedder.tokens

    def decode(self, batch: Batch) -> Logits:
        """The logits are a view into the library's memory, or a copy.

        Streams and pieces of prompts are decoded apart: the library would put the first token of every piece beside
        the streams, and attend over as many cells for all of them as the longest prompt has. Without flash attention
        a row that it decodes alone is rounded otherwise than one among others of its slot, so no piece may leave one.
        """
        if not self._kv.exists:
            raise EngineError("this model makes embeddings only, no text")
        if batch.outputs == batch.size:  # streams alone
            return self._decode(batch, None, batch.outputs)
        parts = parts_of(batch, parity_apart=not self._flash_attention)
        if len(parts) == 1:
            return self._decode(batch, None, batch.outputs)
        wanted = batch.wants_logits[: batch.size]
        logits = np.empty((batch.outputs, self.tokenizer.vocab_size), np.float32)
        for part in parts:
            logits[part[wanted]] = self._decode(batch, part, int((part & wanted).sum()))
        return logits

    def _decode(self, batch: Batch, rows: NDArray[np.bool_] | None, outputs: int) -> Logits:
        """One llama_decode, of all rows or of those where `rows` is true; the logits are a view."""
        self._batch.fill(batch, rows)
        if self._governor is not None and self._governor.update(time.monotonic() - self._last_step):
            lib.llama_set_n_threads(self._context, self._governor.threads, self._governor.threads)
        status = lib.llama_decode(self._context, self._batch.struct)
        if status:
            raise EngineError(f"llama.cpp could not decode (status {status}): {native.recent_log()}")
        lib.llama_synchronize(self._context)
        self._kv.decoded()
        self._last_step = time.monotonic()
        if not outputs:
            return np.empty((0, self.tokenizer.vocab_size), np.float32)
        address = ctypes.addressof(lib.llama_get_logits(self._context).contents)
        floats = (ctypes.c_float * (outputs * self.tokenizer.vocab_size)).from_address(address)
        return np.frombuffer(memoryview(floats), np.float32).reshape(outputs, -1)

    def copy_prefix(self, source: int, target: int, tokens: int) -> int:
        """Copy the KV of a slot; see SlotMemory."""
        return self._kv.copy_prefix(source, target, tokens)

    def trim(self, slot: int, tokens: int) -> int:
        """Drop KV from position `tokens` on; see SlotMemory."""
        return self._kv.trim(slot, tokens)

    def save(self, slot: int) -> bytes | None:
        """The KV of a slot; see SlotMemory."""
        return self._kv.save(slot)

    def restore(self, slot: int, state: bytes) -> int:
        """Put KV back; see SlotMemory."""
        return self._kv.restore(slot, state)

    def use_adapters(self, adapters: tuple[AdapterUse, ...]) -> None:
        """Decode with these LoRA adapters from now on; embeddings are made without any."""
        self._adapters.use(self._context, adapters)

    def embed(self, inputs: Sequence[Sequence[int]]) -> Vectors:
        """One vector for each input; see LlamaEmbedder."""
        return self._embedder.embed(inputs, threads=self._governor.threads if self._governor else self._threads)

    def close(self) -> None:
        """Free the contexts, the adapters, then the model."""
        if self._context is not None:
            self._embedder.close()
            lib.llama_free(self._context)
            self._adapters.close()
            lib.llama_model_free(self._model)
            self._context = self._model = None

    def _open_context(self, plan: LoadPlan, room_bytes: int) -> int:
        """Make the context, in so much memory; returns its number of slots."""
        fit = self._placement.fit(plan, room_bytes, int(lib.llama_model_n_ctx_train(self._model)))
        self._flash_attention = flash_attention_of(plan, fit.jobs, is_on_cpu=self._placement.is_on_cpu)
        self._context = native.new_context(
            self._model,
            n_ctx=fit.context_tokens * fit.jobs,
            n_batch=BATCH_TOKENS,
            n_ubatch=UBATCH_TOKENS,
            n_seq_max=fit.jobs,
            n_threads=self._threads,
            n_threads_batch=self._threads,
            kv_unified=False,
            flash_attn_type=int(self._flash_attention),
            type_k=GGML_TYPES[plan.kv_type],
            type_v=GGML_TYPES[plan.kv_type],
            no_perf=True,
        )
        return fit.jobs

    def _layout(self, plan: LoadPlan, slots: int) -> str:
        return fingerprint(
            self._model,
            self._context,
            slots=slots,
            flash_attention=self._flash_attention,
            kv_type=plan.kv_type,
            device=self._placement.words,
        )
