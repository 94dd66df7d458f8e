"""How many tokens OpenVINO's paged attention may keep, and how many it reads at once."""

from msgspec import Struct

from localllm.devices.fit import Fit, fit_kv

CPU_BLOCK_TOKENS = 32
GPU_BLOCK_TOKENS = 16
STEP_SECONDS = 0.35  # that reading a piece of a prompt may hold up the answers beside it
_LEAST_PIECE, _MOST_PIECE = 32, 512
# Numbers that one core multiplies and adds in a second: 2 cores with AVX2 read 300 tokens a second of 135 million
# weights (measured). One with AVX-512 or AMX does more, and then a step is only shorter.
_WORK_PER_CORE = 20e9


class KvShape(Struct, frozen=True, kw_only=True):
    """What keys and values take, and how far the model was trained to look back."""

    layers: int
    kv_heads: int
    head_width: int
    context_tokens: int


class Blocks(Struct, frozen=True, kw_only=True):
    """Pages of KV."""

    count: int
    context_tokens: int
    jobs: int


def kv_bytes_per_token(shape: KvShape) -> int:
    """Of the CPU: 8 bits a number, keys with a scale and a zero point a channel of each block (4 + 4 bytes for 32
    tokens), values with those of each head and token. As `get_metrics` tells of the whole."""
    keys = shape.head_width + shape.head_width * 8 // CPU_BLOCK_TOKENS
    values = shape.head_width + 8
    return shape.layers * shape.kv_heads * (keys + values)


def fit_blocks(
    shape: KvShape, *, available_bytes: int, context: int | None, jobs: int | None, block_tokens: int
) -> Blocks:
    """Raises LoadFailed for a context or a number of jobs that does not fit."""
    fit: Fit = fit_kv(
        bytes_per_token=kv_bytes_per_token(shape),
        trained_tokens=shape.context_tokens,
        available_bytes=available_bytes,
        context=context,
        jobs=jobs,
    )
    tokens = min(fit.context_tokens, shape.context_tokens)
    each = -(-tokens // block_tokens) + 1  # one more: the token that is computed has its place before it is known
    return Blocks(count=each * fit.jobs, context_tokens=tokens, jobs=fit.jobs)


def piece_tokens(parameters: int, *, threads: int, jobs: int) -> int:
    """How many tokens of prompts a step may read, so that it takes about STEP_SECONDS."""
    affordable = int(STEP_SECONDS * _WORK_PER_CORE * threads / max(1, parameters))
    piece = max(_LEAST_PIECE, min(_MOST_PIECE, affordable // CPU_BLOCK_TOKENS * CPU_BLOCK_TOKENS))
    return max(piece, jobs)
