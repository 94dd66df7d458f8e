"""LlamaRunner: one llama.cpp model and context, one KV stream for each slot."""

import ctypes
import time

import llama_cpp as lib
import numpy as np

from localllm.devices.contention import CoreMeter, ThreadGovernor
from localllm.devices.cpu import available_memory_bytes, usable_cores
from localllm.devices.fit import fit_kv
from localllm.engines.base import Batch, Logits, OnProgress, RunnerInfo
from localllm.engines.llama_cpp import native
from localllm.engines.llama_cpp.batch import LlamaBatch
from localllm.engines.llama_cpp.tokenizer import LlamaTokenizer
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineError

BATCH_TOKENS = 2048
UBATCH_TOKENS = 512
CHUNK_TOKENS = 256


class LlamaRunner:
    """Runs a GGUF. KV is one stream per slot (kv_unified off): idle slots then cost the running ones nothing.

    Slots that run together should be neighbours: llama.cpp puts only consecutive streams into one micro-batch.
    """

    def __init__(self, plan: LoadPlan, on_progress: OnProgress) -> None:
        started = time.perf_counter()
        self._model = native.load_model(plan.path, on_progress)
        threads = plan.threads or usable_cores()
        self._governor = None if plan.threads else ThreadGovernor(threads, CoreMeter())
        self._last_step = 0.0
        fit = fit_kv(
            bytes_per_token=native.kv_bytes_per_token(self._model),
            trained_tokens=int(lib.llama_model_n_ctx_train(self._model)),
            available_bytes=available_memory_bytes(),
            context=plan.context_tokens,
            jobs=plan.max_jobs,
        )
        self._context = native.new_context(
            self._model,
            n_ctx=fit.context_tokens * fit.jobs,
            n_batch=BATCH_TOKENS,
            n_ubatch=UBATCH_TOKENS,
            n_seq_max=fit.jobs,
            n_threads=threads,
            n_threads_batch=threads,
            kv_unified=False,
            flash_attn_type=int(_flash_attention(plan, fit.jobs)),
            no_perf=True,
        )
        self._memory = lib.llama_get_memory(self._context)
        self._batch = LlamaBatch(BATCH_TOKENS)
        self.tokenizer = LlamaTokenizer(self._model)
        self.info = RunnerInfo(
            engine="llama_cpp",
            build=native.BUILD,
            device="gpu" if lib.llama_supports_gpu_offload() else "cpu",
            context_tokens=int(lib.llama_n_ctx_seq(self._context)),
            slots=fit.jobs,
            batch_tokens=BATCH_TOKENS,
            chunk_tokens=CHUNK_TOKENS,
            threads=threads,
            load_seconds=time.perf_counter() - started,
        )

    def decode(self, batch: Batch) -> Logits:
        """One llama_decode; the logits are a view into the library's memory."""
        self._batch.fill(batch)
        if self._governor is not None and self._governor.update(time.monotonic() - self._last_step):
            lib.llama_set_n_threads(self._context, self._governor.threads, self._governor.threads)
        status = lib.llama_decode(self._context, self._batch.struct)
        if status:
            raise EngineError(f"llama.cpp could not decode (status {status}): {native.recent_log()}")
        lib.llama_synchronize(self._context)
        self._last_step = time.monotonic()
        if not batch.outputs:
            return np.empty((0, self.tokenizer.vocab_size), np.float32)
        address = ctypes.addressof(lib.llama_get_logits(self._context).contents)
        floats = (ctypes.c_float * (batch.outputs * self.tokenizer.vocab_size)).from_address(address)
        return np.frombuffer(memoryview(floats), np.float32).reshape(batch.outputs, -1)

    def copy_prefix(self, source: int, target: int, tokens: int) -> int:
        """Copy a whole stream, which the library does at the next decode, then drop the rest."""
        lib.llama_memory_seq_rm(self._memory, target, -1, -1)
        lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)  # streams cannot be copied in part
        return self.trim(target, tokens)

    def trim(self, slot: int, tokens: int) -> int:
        """Drop KV from position `tokens` on; a recurrent state cannot go back, so the slot is cleared."""
        if lib.llama_memory_seq_rm(self._memory, slot, tokens, -1):
            return min(tokens, int(lib.llama_memory_seq_pos_max(self._memory, slot)) + 1)
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return 0

    def save(self, slot: int) -> bytes | None:
        """The state of one sequence, as llama_state_seq_get_data writes it."""
        size = int(lib.llama_state_seq_get_size(self._context, slot))
        buffer = (ctypes.c_uint8 * size)()
        written = int(lib.llama_state_seq_get_data(self._context, buffer, size, slot))
        return bytes(memoryview(buffer)[:written]) if written else None

    def restore(self, slot: int, state: bytes) -> int:
        """Put a state back; the library checks that it fits and refuses it otherwise."""
        lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        if not lib.llama_state_seq_set_data(self._context, buffer, len(state), slot):
            lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
            return 0
        return int(lib.llama_memory_seq_pos_max(self._memory, slot)) + 1

    def close(self) -> None:
        """Free the context, then the model."""
        if self._context is not None:
            lib.llama_free(self._context)
            lib.llama_model_free(self._model)
            self._context = self._model = None


def _flash_attention(plan: LoadPlan, jobs: int) -> bool:
    """Measured on a CPU (docs/performance.md): on is faster for several answers at once, off for one with a long
    context. On a GPU it is on."""
    if plan.flash_attention is not None:
        return plan.flash_attention
    return jobs > 1 or bool(lib.llama_supports_gpu_offload())
