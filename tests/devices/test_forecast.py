"""Whether a model will fit and how fast it will be, and what is said about it."""

import os
import re
from pathlib import Path

import msgspec
import pytest

from localllm.devices.cpu import available_memory_bytes
from localllm.devices.fit import MAX_AUTO_CONTEXT
from localllm.devices.footprint import KvType, ModelShape
from localllm.devices.forecast import (
    EFFICIENCY,
    TYPICAL_TOKENS,
    Forecast,
    bytes_read_per_token,
    decode_rate,
    forecast,
    largest_context,
    speed_class,
)
from localllm.engines.plan import LoadPlan
from localllm.worker.handle import WorkerHandle
from tests.devices.shapes import EIGHT_BILLION, SLIDING, shape_of
from tests.marks import slow

KV_TYPES: tuple[KvType, KvType] = ("f16", "q8_0")
GIB = 2**30


def foresee(
    shape: ModelShape = EIGHT_BILLION,
    *,
    free: float = 32 * GIB,
    context: int | None = None,
    jobs: int | None = None,
    bandwidth: float = 40e9,
) -> Forecast:
    return forecast(shape, available_bytes=int(free), context=context, jobs=jobs, bandwidth=lambda: bandwidth)


def speed(shape: ModelShape, bandwidth: float = 40e9) -> float:
    """Tokens a second, of what fits."""
    rate = foresee(shape, bandwidth=bandwidth).tokens_per_second
    assert rate is not None
    return rate


def test_what_does_not_fit_has_no_speed_and_nothing_is_measured_for_it() -> None:
    refused = forecast(EIGHT_BILLION, available_bytes=10**9, context=None, jobs=None, bandwidth=pytest.fail)
    assert (refused.fits, refused.tokens_per_second, refused.speed_class) == (False, None, None)


def changed(shape: ModelShape, **fields: object) -> ModelShape:
    return msgspec.structs.replace(shape, **fields)


def test_with_plenty_of_memory_it_fits_and_says_how() -> None:
    seen = foresee()
    assert (seen.fits, seen.context_tokens) == (True, MAX_AUTO_CONTEXT)
    assert seen.jobs > 1
    words = " | ".join(seen.reasons)
    assert "of 34.4 GB free: weights 4.9 GB, KV" in words
    assert f"{MAX_AUTO_CONTEXT} tokens of context for each of {seen.jobs} answers at once" in words
    assert "it was trained for 131072, --context asks for more" in words
    assert "tokens a second: each reads" in words


def test_a_context_that_was_asked_for_is_not_explained() -> None:
    words = " | ".join(foresee(context=4096, jobs=1).reasons)
    assert "4096 tokens of context, one answer at a time" in words
    assert "was trained for" not in words


def test_what_hardly_fits_fits_with_a_warning() -> None:
    needed = foresee(context=4096, jobs=1).footprint.total_bytes
    assert "nearly all" not in " ".join(foresee(context=4096, jobs=1).reasons)
    tight = foresee(context=4096, jobs=1, free=needed)
    assert tight.fits
    assert "nearly all" in " ".join(tight.reasons)
    assert not foresee(context=4096, jobs=1, free=needed - 1).fits


@pytest.mark.parametrize(("context", "jobs"), [(32768, 1), (8192, 8), (16384, None), (None, 16)])
def test_where_less_context_would_fit_that_is_said_and_true(context: int | None, jobs: int | None) -> None:
    seen = foresee(free=5.8 * GIB, context=context, jobs=jobs)
    if context is None:
        assert seen.fits  # with little context for each
        return
    assert not seen.fits
    assert "6.2 GB are free" in seen.reasons[0]
    found = re.fullmatch(r"what fits: --context (\d+) --parallel (\d+), or less", seen.reasons[1])
    assert found
    advised = foresee(free=5.8 * GIB, context=int(found[1]), jobs=int(found[2]))
    assert advised.fits
    assert int(found[2]) == (jobs or 1)
    assert not foresee(free=5.8 * GIB, context=int(found[1]) + 256, jobs=int(found[2])).fits


def test_too_many_answers_at_once_become_one() -> None:
    seen = foresee(free=5 * GIB, context=8192, jobs=256)
    assert re.search(r"--context \d+ --parallel 1, or less", seen.reasons[1])


def test_a_model_that_would_fit_in_four_bits_says_so() -> None:
    seen = foresee(changed(EIGHT_BILLION, weights_bytes=16_060_000_000), free=8 * GIB)
    assert not seen.fits
    assert "16.3 GB with 1 × 256 tokens" in seen.reasons[0]
    assert seen.reasons[1] == "what fits: this model in 4 bits (Q4_K_M), about 4.9 GB"


def test_one_that_would_not_fit_in_any_way_names_a_size_that_does() -> None:
    seen = foresee(free=2 * GIB)
    assert not seen.fits
    assert "2.1 GB are free" in seen.reasons[0]
    (advice,) = seen.reasons[1:]
    found = re.fullmatch(r"what fits: a model of up to ([\d.]+) GB, ([\d.]+) billion parameters .*", advice)
    assert found
    assert 1.0 < float(found[1]) < 2.0
    assert 2.0 < float(found[2]) < 3.5


def test_no_memory_at_all() -> None:
    seen = foresee(free=10_000_000)
    assert not seen.fits
    assert seen.reasons[-1] == "no model fits so little memory; close other programs"
    assert (seen.context_tokens, seen.jobs) == (256, 1)


def test_more_context_than_trained_is_no_question_of_memory() -> None:
    seen = foresee(changed(EIGHT_BILLION, context_tokens=8192), context=9000, free=900 * GIB)
    assert not seen.fits
    assert len(seen.reasons) == 1
    assert "trained for a context of 8192 tokens" in seen.reasons[0]


@pytest.mark.parametrize("jobs", [1, 4])
def test_the_largest_context_is_the_largest(jobs: int) -> None:
    free = 7 * GIB
    most = largest_context(EIGHT_BILLION, available_bytes=free, jobs=jobs)
    assert most
    assert foresee(free=free, context=most, jobs=jobs).fits
    assert not foresee(free=free, context=most + 1, jobs=jobs).fits
    assert largest_context(EIGHT_BILLION, available_bytes=GIB, jobs=jobs) is None
    assert largest_context(SLIDING, available_bytes=900 * GIB, jobs=jobs) == SLIDING.context_tokens


def test_more_memory_never_gives_less() -> None:
    seen = [foresee(free=quarters * GIB / 4) for quarters in range(8, 129)]
    assert [found.fits for found in seen] == sorted(found.fits for found in seen)
    contexts = [found.context_tokens for found in seen if found.fits]
    assert contexts == sorted(contexts)
    assert all(
        found.footprint.total_bytes <= quarters * GIB / 4 for quarters, found in enumerate(seen, 8) if found.fits
    )


def test_every_token_reads_all_weights_and_its_context() -> None:
    kv = 128 * 1024
    assert bytes_read_per_token(EIGHT_BILLION, context_tokens=512) == EIGHT_BILLION.weights_bytes + 512 * kv
    most = EIGHT_BILLION.weights_bytes + TYPICAL_TOKENS * kv
    assert bytes_read_per_token(EIGHT_BILLION, context_tokens=100_000) == most
    assert decode_rate(EIGHT_BILLION, context_tokens=8192, bandwidth=40e9) == pytest.approx(40e9 * EFFICIENCY / most)


def test_embeddings_that_are_only_looked_up_are_not_read() -> None:
    untied = changed(EIGHT_BILLION, lookup_bytes=300_000_000)
    assert bytes_read_per_token(EIGHT_BILLION, context_tokens=0) - 300_000_000 == bytes_read_per_token(
        untied, context_tokens=0
    )


def test_of_experts_only_those_used_are_read() -> None:
    mixture = changed(EIGHT_BILLION, experts=8, experts_used=2, expert_bytes=4_000_000_000)
    assert bytes_read_per_token(mixture, context_tokens=0) == 870_000_000 + 1_000_000_000
    assert speed(mixture) > 2 * speed(EIGHT_BILLION)
    assert foresee(mixture).footprint.weights_bytes == EIGHT_BILLION.weights_bytes  # all of them are in memory


def test_what_experts_weigh_is_estimated_where_the_header_does_not_say() -> None:
    mixture = changed(
        EIGHT_BILLION,
        parameters=30_500_000_000,  # as in Qwen3 30B-A3B
        weights_bytes=30_500_000_000,
        layers=48,
        embedding_width=2048,
        feed_forward_width=768,
        experts=128,
        experts_used=8,
    )
    assert 2.5e9 < bytes_read_per_token(mixture, context_tokens=0) < 3.5e9


@pytest.mark.parametrize(
    ("rate", "name"),
    [
        (120.0, "instant"),
        (50.0, "instant"),
        (49.9, "fast"),
        (10.0, "reading"),
        (2.0, "slow"),
        (0.5, "crawling"),
        (0, "crawling"),
    ],
)
def test_speed_in_a_word(rate: float, name: str) -> None:
    assert speed_class(rate) == name


def test_a_faster_memory_makes_it_faster() -> None:
    assert speed(EIGHT_BILLION, bandwidth=80e9) == pytest.approx(2 * speed(EIGHT_BILLION, bandwidth=40e9))
    assert foresee(bandwidth=20e9).speed_class == "slow"
    assert foresee(bandwidth=800e9).speed_class == "instant"


@pytest.mark.anyio
@pytest.mark.parametrize(("context", "jobs"), [(None, None), slow(512, None), slow(None, 3)])
async def test_a_worker_chooses_what_was_forecast(tiny_model: Path, context: int | None, jobs: int | None) -> None:
    seen = foresee(shape_of(tiny_model), free=available_memory_bytes(), context=context, jobs=jobs)
    plan = LoadPlan(engine="llama_cpp", path=os.fspath(tiny_model), context_tokens=context, max_jobs=jobs, threads=1)
    handle = await WorkerHandle.start(plan, lambda _: None)
    try:
        assert (handle.info.context_tokens, handle.info.max_jobs) == (seen.context_tokens, seen.jobs)
    finally:
        await handle.close()


def test_small_kv_takes_half_and_what_would_fit_counts_it() -> None:
    free = 7 * GIB
    usual, small = (
        largest_context(EIGHT_BILLION, available_bytes=free, jobs=1, kv_type=kv_type, flash_attention=True)
        for kv_type in KV_TYPES
    )
    assert usual
    assert small
    assert 1.7 * usual < small < 2 * usual
    seen = forecast(EIGHT_BILLION, available_bytes=free, context=small, jobs=1, bandwidth=lambda: 40e9, kv_type="q8_0")
    assert seen.fits
    assert seen.tokens_per_second
    assert not foresee(free=free, context=small, jobs=1).fits


def test_nothing_is_measured_where_nobody_asks_for_the_speed() -> None:
    seen = forecast(EIGHT_BILLION, available_bytes=32 * GIB, context=None, jobs=None, bandwidth=None)
    assert (seen.fits, seen.tokens_per_second, seen.speed_class) == (True, None, None)
    assert len(seen.reasons) == 2
