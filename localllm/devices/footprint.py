"""What memory a model takes, from the numbers in its header: weights, KV, compute buffers, the program around them.

The formulas follow what llama.cpp (0c1e57098, in llama-cpp-python 0.3.36) allocates when `engines/llama_cpp/runner.py`
makes its context on a CPU: one stream of KV for each job. They were fitted to

- the library's own log ("compute buffer size", "KV buffer size") for ten models of zeros: llama, gemma3, qwen3 and a
  mixture of experts, 4 to 24 layers, widths of 256 to 1024, vocabularies of 1,000 to 67,000; 512 to 8192 tokens, 1 to
  16 jobs, with and without flash attention. KV was what the log says, buffers between 0.96 and 1.11 of that;
- the resident memory of real workers whose contexts had been filled (up to 4096 tokens): eight such models, in Q8_0
  and f16, and the starter model; totals were between 0.98 and 1.03 of what was measured. Formats that are copied at
  load (Q4_0, Q4_K) showed the copy too, which is `droppable_bytes`.
"""

from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from localllm.devices.fit import CONTEXT_STEP
from localllm.errors import ConfigError

KvType = Literal["f16", "q8_0"]

PIECE_TOKENS = 256  # of prompts read at once (CHUNK_TOKENS of the runner), and so the rows of activations in memory
UBATCH_TOKENS = 512  # that the library reserves activations for; those never used never become resident
KV_BLOCK_VALUES = 32  # of a key or value that q8_0 keeps together: a byte each, and a float16 for all
KV_BLOCK_BYTES: "MappingProxyType[KvType, int]" = MappingProxyType({"f16": 64, "q8_0": 34})  # for so many values

# A worker without weights: Python, numpy, the native library, its working memory (measured with tiny models).
PROGRAM_BYTES = 56 * 2**20
TOKEN_BYTES = 280  # of the vocabulary: a token's text, score and merge in the native tokenizer's tables (measured)

# Types of weights, by their names in GGUF, that the kernels of a processor want in another order: llama.cpp then copies
# them when it loads a model, except for embeddings that tokens are looked up in (ggml-cpu/repack.cpp).
_REPACKED_X86 = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})  # with AVX2
_REPACKED_ARM = _REPACKED_X86 | {"Q5_K", "Q6_K", "Q8_0"}  # with the dot product instructions


class ModelShape(Struct, frozen=True, kw_only=True):
    """A model by its numbers. Widths and lengths count values, `parameters` weights.

    Keys of GGUF, behind the architecture's name: layers block_count, heads attention.head_count, and so on; see
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. `weights_bytes` is the sum of the tensors.
    """

    weights_bytes: int
    parameters: int
    layers: int
    embedding_width: int
    feed_forward_width: int  # of one expert, where there are experts
    heads: int
    kv_heads: tuple[int, ...]  # of each layer; 0 for a layer that keeps no KV
    key_length: int
    value_length: int
    vocabulary: int
    context_tokens: int  # the model was trained for
    sliding_window: int = 0
    sliding_layers: int = 0  # how many layers see no further back than the window
    experts: int = 0
    experts_used: int = 0  # for each token
    expert_bytes: int = 0  # of weights_bytes, in all experts; 0: estimated from the widths
    lookup_bytes: int = (
        0  # of weights_bytes, of which a token reads a row: embeddings that are not the output matrix too
    )
    repacked_bytes: int = 0  # of weights_bytes, which this processor's kernels want in another order
    layer_bytes: tuple[int, ...] = ()  # of weights_bytes, in each layer; empty: about the same in all
    output_bytes: int = 0  # what computes the logits, embeddings that it uses too counted in; 0: by the widths


class Footprint(Struct, frozen=True, kw_only=True):
    """Memory in bytes, with every job's context full."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    overhead_bytes: int  # the worker process itself, with its vocabulary
    droppable_bytes: int = 0  # of the file, once its weights were copied into another order; the system takes them back

    @property
    def total_bytes(self) -> int:
        """What must be free."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.overhead_bytes

    @property
    def resident_bytes(self) -> int:
        """What a list of processes shows (RSS) while memory is plenty."""
        return self.total_bytes + self.droppable_bytes


def footprint(
    shape: ModelShape,
    *,
    context_tokens: int,
    jobs: int,
    flash_attention: bool,
    kv_type: KvType = "f16",
    swa_full: bool = True,
) -> Footprint:
    """For `jobs` at once with `context_tokens` each; `kv_type` and `swa_full` as in `kv_bytes`."""
    tokens = _whole_steps(context_tokens)
    activations = compute_bytes(
        shape, context_tokens=tokens, flash_attention=flash_attention, rows=PIECE_TOKENS, outputs=jobs
    )
    work = _work_bytes(shape, tokens, flash_attention=flash_attention)
    logits = 4 * jobs * shape.vocabulary
    return Footprint(
        weights_bytes=shape.weights_bytes,
        kv_bytes=kv_bytes(shape, context_tokens=tokens, kv_type=kv_type, swa_full=swa_full) * jobs,
        compute_bytes=activations + work + logits,
        overhead_bytes=overhead_bytes(shape),
        droppable_bytes=shape.repacked_bytes,
    )


def values_bytes(values: int, kv_type: KvType) -> int:
    """So many numbers of keys and values, in whole blocks (`ggml_row_size`)."""
    return values * KV_BLOCK_BYTES[kv_type] // KV_BLOCK_VALUES


def kv_bytes_per_token(shape: ModelShape, kv_type: KvType = "f16") -> int:
    """K and V of one token in all layers."""
    return values_bytes(sum(shape.kv_heads) * (shape.key_length + shape.value_length), kv_type)


def fits_kv_type(shape: ModelShape, kv_type: KvType) -> bool:
    """Whether the heads are whole blocks; llama.cpp refuses any other for q8_0 (`llama_init_from_model`)."""
    return kv_type == "f16" or not (shape.key_length % KV_BLOCK_VALUES or shape.value_length % KV_BLOCK_VALUES)


def kv_bytes(shape: ModelShape, *, context_tokens: int, kv_type: KvType = "f16", swa_full: bool = True) -> int:
    """K and V of one job. `swa_full` is llama.cpp's setting of that name, on by default: layers with a sliding window
    keep the whole context nevertheless. Without it they keep the window and a micro-batch (llama-kv-cache-iswa.cpp).
    """
    tokens = _whole_steps(context_tokens)
    everything = kv_bytes_per_token(shape, kv_type) * tokens
    if swa_full or not shape.sliding_window or not shape.sliding_layers:
        return everything
    kept = min(tokens, _whole_steps(shape.sliding_window + UBATCH_TOKENS))
    return everything - (tokens - kept) * kv_bytes_per_token(shape, kv_type) * shape.sliding_layers // shape.layers


def compute_bytes(shape: ModelShape, *, context_tokens: int, flash_attention: bool, rows: int, outputs: int) -> int:
    """The library's compute buffer for micro-batches of `rows` tokens, `outputs` of which give logits.

    Layers follow each other in the same memory, and so do the parts of a layer: the largest decides. It does not depend
    on the number of jobs. With 512 rows and outputs this is what llama.cpp reserves, up to some small tensors.
    """
    query = shape.heads * shape.key_length
    key_value = max(shape.kv_heads, default=0) * (shape.key_length + shape.value_length)
    mask = context_tokens * (2 if shape.sliding_layers else 1)
    scores = 0 if flash_attention else shape.heads * context_tokens
    if flash_attention:
        mask //= 2  # float16
    attention = scores + mask + 3 * shape.embedding_width + 2 * query + key_value
    feed_forward = mask + 3 * shape.feed_forward_width * max(1, shape.experts_used) + 4 * shape.embedding_width
    layer = 4 * rows * max(attention, feed_forward)
    last = 4 * (outputs * shape.vocabulary + 2 * rows * shape.embedding_width)
    return max(layer, last)


def overhead_bytes(shape: ModelShape) -> int:
    """The worker process without weights and buffers."""
    return PROGRAM_BYTES + TOKEN_BYTES * shape.vocabulary


def repacked_types(machine: str) -> frozenset[str]:
    """Types of weights of which a processor keeps a copy; `machine` is what `platform.machine()` calls it."""
    if machine.lower() in {"x86_64", "amd64"}:
        return _REPACKED_X86
    return _REPACKED_ARM if machine.lower() in {"arm64", "aarch64"} else frozenset()


def check_flash_attention(kv_type: KvType, flash_attention: bool | None) -> None:
    """Raises ConfigError for KV in q8_0 without flash attention, which llama.cpp cannot compute."""
    if kv_type != "f16" and flash_attention is False:
        raise ConfigError(f"kv_type {kv_type} needs flash attention: leave out --no-flash-attention, or use f16")


def _work_bytes(shape: ModelShape, context_tokens: int, *, flash_attention: bool) -> int:
    """What matrix products on a CPU put aside: their right side once more, in two bytes a value or about one."""
    scores = 0 if flash_attention else shape.heads * context_tokens
    feed_forward = shape.feed_forward_width * max(1, shape.experts_used)
    return 2 * PIECE_TOKENS * max(scores, feed_forward, shape.embedding_width)


def _whole_steps(tokens: int) -> int:
    return -(-tokens // CONTEXT_STEP) * CONTEXT_STEP
