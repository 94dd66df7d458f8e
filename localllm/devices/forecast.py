"""Whether a model will fit this machine and about how fast it will answer, with reasons; nothing is loaded for it."""

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

from localllm.devices.fit import CONTEXT_STEP, MIN_CONTEXT, fit_kv
from localllm.devices.footprint import (
    Footprint,
    KvType,
    ModelShape,
    footprint,
    kv_bytes_per_token,
    overhead_bytes,
)
from localllm.errors import ModelError
from localllm.units import size_words

# Bytes of weights that decoding read in a second, to what `bandwidth.py`'s way of reading gave: one thread each, by CPU
# time, since the machine was busy (AMD EPYC, AVX2). The starter model: Q4_1 0.41, Q4_0 0.48, Q8_0 0.59. Models of zeros
# with 0.3 billion parameters: Q4_K 0.48, Q8_0 0.71; with 1.1 billion: Q4_K 0.56, Q6_K 0.61, F16 0.88.
EFFICIENCY = 0.5
TYPICAL_TOKENS = 1024  # of context behind the token whose speed is stated
FOUR_BITS = 4.85 / 8  # bytes a weight in llama.cpp's Q4_K_M
WEIGHTS_SHARE = 0.8  # of what is free beside the program; KV and buffers need the rest
TIGHT = 0.9  # of what is free

SpeedClass = Literal["instant", "fast", "reading", "slow", "crawling"]
# Tokens a second. People read 200 to 300 words a minute: about 5 tokens a second.
SPEED_CLASSES: tuple[tuple[float, SpeedClass], ...] = (
    (50.0, "instant"),
    (15.0, "fast"),
    (5.0, "reading"),
    (1.0, "slow"),
    (0.0, "crawling"),
)


class ContextSettings(Struct, frozen=True, kw_only=True):
    """Of a context, what its size depends on."""

    flash_attention: bool | None  # None: as the runner chooses on a CPU
    kv_type: KvType


class Forecast(Struct, frozen=True, kw_only=True):
    """What to expect. Where it does not fit, context and jobs are what was asked for, or else the least there is."""

    fits: bool
    context_tokens: int
    jobs: int
    footprint: Footprint
    tokens_per_second: float | None = None  # of one stream, where it fits; right within a factor of two or so
    speed_class: SpeedClass | None = None
    reasons: tuple[str, ...] = ()


def forecast(
    shape: ModelShape,
    *,
    available_bytes: int,
    context: int | None,
    jobs: int | None,
    bandwidth: Callable[[], float] | None,
    flash_attention: bool | None = None,
    kv_type: KvType = "f16",
) -> Forecast:
    """Choose context and jobs like the runner does, where they are None, and say what comes of it.

    `available_bytes` is what is free before the model is loaded; `bandwidth` (`memory_bandwidth`), bytes a second, is
    asked only where the model fits; None: nothing is said of the speed. Raises nothing: what is impossible has `fits`
    false and reasons.
    """
    settings = ContextSettings(flash_attention=flash_attention, kv_type=kv_type)
    tokens, count, refusal = _choice(shape, available_bytes, context, jobs, kv_type)
    need = _need(shape, tokens, count, settings)
    plan = Forecast(fits=False, context_tokens=tokens, jobs=count, footprint=need)
    if context is not None and context > shape.context_tokens:
        return msgspec.structs.replace(plan, reasons=(refusal,))
    if refusal or need.total_bytes > available_bytes:
        needed = f"it takes {size_words(need.total_bytes)} with {count} × {tokens} tokens of context ({_parts(need)})"
        remedy = _remedy(shape, available_bytes, count, settings)
        return msgspec.structs.replace(plan, reasons=(f"{needed}; {size_words(available_bytes)} are free", *remedy))
    reasons = (
        *_memory_words(need, available_bytes),
        context_words(shape, tokens, count, is_chosen=context is None),
    )
    plan = msgspec.structs.replace(plan, fits=True, reasons=reasons)
    return plan if bandwidth is None else _with_speed(plan, shape, bandwidth(), kv_type)


def bytes_read_per_token(shape: ModelShape, *, context_tokens: int, kv_type: KvType = "f16") -> int:
    """Weights and KV that decoding one token reads: of a mixture of experts only those used, of embeddings that are
    not the output matrix too next to nothing, and the KV of a typical context."""
    weights = shape.weights_bytes - shape.lookup_bytes
    if shape.experts:
        idle = shape.experts - min(shape.experts, shape.experts_used)
        weights -= _expert_bytes(shape) * idle // shape.experts
    return max(0, weights) + kv_bytes_per_token(shape, kv_type) * min(context_tokens, TYPICAL_TOKENS)


def decode_rate(shape: ModelShape, *, context_tokens: int, bandwidth: float, kv_type: KvType = "f16") -> float:
    """Tokens a second of one stream, roughly."""
    read = bytes_read_per_token(shape, context_tokens=context_tokens, kv_type=kv_type)
    return bandwidth * EFFICIENCY / max(1, read)


def speed_class(tokens_per_second: float) -> SpeedClass:
    """instant: an answer stands there at once; fast: faster than one reads; reading: as fast as; slow: slower;
    crawling: something to leave running."""
    return next(name for least, name in SPEED_CLASSES if tokens_per_second >= least)


def largest_context(
    shape: ModelShape,
    *,
    available_bytes: int,
    jobs: int,
    flash_attention: bool | None = None,
    kv_type: KvType = "f16",
) -> int | None:
    """The most tokens for each of `jobs` that fit, in whole steps but no more than trained; None where none do."""
    return _largest(shape, available_bytes, jobs, ContextSettings(flash_attention=flash_attention, kv_type=kv_type))


def largest_weights_bytes(shape: ModelShape, available_bytes: int) -> int:
    """About the largest model, by its weights, for so much memory."""
    return max(0, int((available_bytes - overhead_bytes(shape)) * WEIGHTS_SHARE))


def _largest(shape: ModelShape, available_bytes: int, jobs: int, settings: ContextSettings) -> int | None:
    low, high = 0, -(-shape.context_tokens // CONTEXT_STEP)
    while low < high:
        middle = (low + high + 1) // 2
        if _need(shape, middle * CONTEXT_STEP, jobs, settings).total_bytes <= available_bytes:
            low = middle
        else:
            high = middle - 1
    return min(low * CONTEXT_STEP, shape.context_tokens) if low else None


def _choice(
    shape: ModelShape, available_bytes: int, context: int | None, jobs: int | None, kv_type: KvType
) -> tuple[int, int, str]:
    """Context, jobs, and why they cannot be."""
    room = available_bytes - shape.weights_bytes - overhead_bytes(shape)
    try:
        fit = fit_kv(
            bytes_per_token=kv_bytes_per_token(shape, kv_type),
            trained_tokens=shape.context_tokens,
            available_bytes=max(0, room),
            context=context,
            jobs=jobs,
        )
    except ModelError as error:
        return context or min(MIN_CONTEXT, shape.context_tokens), jobs or 1, error.message
    return fit.context_tokens, fit.jobs, ""


def _need(shape: ModelShape, tokens: int, jobs: int, settings: ContextSettings) -> Footprint:
    flash = settings.flash_attention
    if flash is None:  # as the runner chooses on a CPU
        flash = jobs > 1 or settings.kv_type != "f16"
    return footprint(shape, context_tokens=tokens, jobs=jobs, flash_attention=flash, kv_type=settings.kv_type)


def _with_speed(plan: Forecast, shape: ModelShape, bandwidth: float, kv_type: KvType) -> Forecast:
    rate = decode_rate(shape, context_tokens=plan.context_tokens, bandwidth=bandwidth, kv_type=kv_type)
    words = _speed_words(shape, plan.context_tokens, bandwidth, rate, kv_type)
    return msgspec.structs.replace(
        plan, tokens_per_second=rate, speed_class=speed_class(rate), reasons=(*plan.reasons, words)
    )


def _expert_bytes(shape: ModelShape) -> int:
    """What the header says, or else by the widths: gate, up and down of every expert."""
    if shape.expert_bytes or not shape.parameters:
        return shape.expert_bytes
    values = 3 * shape.embedding_width * shape.feed_forward_width * shape.experts * shape.layers
    return int(shape.weights_bytes * min(1.0, values / shape.parameters))


def _memory_words(need: Footprint, available_bytes: int) -> list[str]:
    words = [f"it takes {size_words(need.total_bytes)} of {size_words(available_bytes)} free: {_parts(need)}"]
    if need.total_bytes > TIGHT * available_bytes:
        words.append("that is nearly all: what other programs take meanwhile may be missing")
    return words


def context_words(shape: ModelShape, tokens: int, jobs: int, *, is_chosen: bool) -> str:
    """What so much context for so many answers at once means to a person."""
    words = f"{tokens} tokens of context for each of {jobs} answers at once"
    if jobs == 1:
        words = f"{tokens} tokens of context, one answer at a time"
    if is_chosen and tokens < shape.context_tokens:
        words += f"; it was trained for {shape.context_tokens}, --context asks for more"
    return words


def _remedy(shape: ModelShape, available_bytes: int, jobs: int, settings: ContextSettings) -> list[str]:
    """What would fit instead: less context, fewer jobs, the same model in 4 bits, or another model."""
    for count in dict.fromkeys((jobs, 1)):
        tokens = _largest(shape, available_bytes, count, settings)
        if tokens:
            return [f"what fits: --context {tokens} --parallel {count}, or less"]
    remedies = []
    small = msgspec.structs.replace(shape, weights_bytes=int(shape.parameters * FOUR_BITS))
    if 0 < small.weights_bytes < TIGHT * shape.weights_bytes and _largest(small, available_bytes, 1, settings):
        remedies.append(f"what fits: this model in 4 bits (Q4_K_M), about {size_words(small.weights_bytes)}")
    most = largest_weights_bytes(shape, available_bytes)
    if not most:
        return [*remedies, "no model fits so little memory; close other programs"]
    billions = most / FOUR_BITS / 1e9
    return [
        *remedies,
        f"what fits: a model of up to {size_words(most)}, {billions:.2g} billion parameters in 4 bits or so",
    ]


def _speed_words(shape: ModelShape, tokens: int, bandwidth: float, rate: float, kv_type: KvType) -> str:
    read = size_words(bytes_read_per_token(shape, context_tokens=tokens, kv_type=kv_type))
    number = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
    return f"about {number} tokens a second: each reads {read} of memory, which gives {bandwidth / 1e9:.0f} GB a second"


def _parts(need: Footprint) -> str:
    return (
        f"weights {size_words(need.weights_bytes)}, KV {size_words(need.kv_bytes)}, "
        f"buffers {size_words(need.compute_bytes)}, program {size_words(need.overhead_bytes)}"
    )
