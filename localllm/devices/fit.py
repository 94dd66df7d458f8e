"""How much context and how many jobs fit into memory beside a model's weights."""

from msgspec import Struct

from localllm.errors import LoadFailed, NoRoom
from localllm.units import size_words

MAX_AUTO_CONTEXT = 8192
MAX_AUTO_JOBS = 16
MIN_CONTEXT = 256
CONTEXT_STEP = 256  # llama.cpp rounds the context of each sequence up to this
KV_SHARE = 0.25  # of the memory still available may go to KV when nothing was asked for,
# but no more than this for the sake of further jobs. llama.cpp clears its KV when the context is made, so all of it is
# resident at once and costs time at each start: 0.3 s for 180 MiB, 0.7 s for 0.9 GiB, 3.2 s for 2.8 GiB (measured).
KV_ENOUGH_BYTES = 2 * 2**30


class Fit(Struct, frozen=True, kw_only=True):
    """The KV cache to allocate: `jobs` sequences of `context_tokens` each."""

    context_tokens: int
    jobs: int
    kv_bytes: int


def fit_kv(
    *,
    bytes_per_token: int,
    trained_tokens: int,
    available_bytes: int,
    context: int | None,
    jobs: int | None,
    share: float = KV_SHARE,
) -> Fit:
    """Choose what was left open, within memory; what was asked for is kept or refused, never reduced.

    `bytes_per_token` is KV for one token of one sequence, `trained_tokens` the context the model was trained for,
    `share` the part of `available_bytes` that may be taken unasked. Raises NoRoom for what does not fit
    `available_bytes`, LoadFailed for more context than trained.
    """
    if context is not None and context > trained_tokens:
        raise LoadFailed(
            f"this model was trained for a context of {trained_tokens} tokens, {context} were asked for; "
            f"use --context {trained_tokens} or less"
        )
    budget = available_bytes * (1.0 if context and jobs else share)
    tokens = context or _auto_context(bytes_per_token, trained_tokens, budget, jobs or 1)
    tokens = -(-tokens // CONTEXT_STEP) * CONTEXT_STEP
    count = jobs or _auto_jobs(bytes_per_token * tokens, budget)
    fit = Fit(context_tokens=tokens, jobs=count, kv_bytes=bytes_per_token * tokens * count)
    if fit.kv_bytes > available_bytes:
        raise NoRoom(
            f"{count} × {tokens} tokens of context need {size_words(fit.kv_bytes)}, "
            f"{size_words(available_bytes)} are free; lower --context or --parallel"
        )
    return fit


def _auto_context(bytes_per_token: int, trained_tokens: int, budget: float, jobs: int) -> int:
    """The most, up to MAX_AUTO_CONTEXT, that the budget holds for `jobs` sequences."""
    most = min(trained_tokens, MAX_AUTO_CONTEXT)
    affordable = int(budget // max(1, bytes_per_token * jobs))
    return max(min(most, affordable), min(MIN_CONTEXT, trained_tokens))


def _auto_jobs(bytes_per_job: int, budget: float) -> int:
    """As many as a modest amount of memory holds: KV is resident from the start, used or not."""
    return max(1, min(MAX_AUTO_JOBS, int(min(budget, KV_ENOUGH_BYTES) // max(1, bytes_per_job))))
