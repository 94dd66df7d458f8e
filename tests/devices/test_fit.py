"""What fits into memory: chosen where left open, kept or refused where asked for."""

import pytest

from localllm.devices.fit import KV_ENOUGH_BYTES, MAX_AUTO_CONTEXT, MAX_AUTO_JOBS, MIN_CONTEXT, Fit, fit_kv
from localllm.errors import LoadFailed, ModelError, NoRoom

GIB = 2**30
KIB = 2**10


def fit(
    *,
    per_token: int = 23 * KIB,
    trained: int = 8192,
    free: int = 16 * GIB,
    context: int | None = None,
    jobs: int | None = None,
) -> Fit:
    return fit_kv(bytes_per_token=per_token, trained_tokens=trained, available_bytes=free, context=context, jobs=jobs)


def test_with_plenty_of_memory_the_trained_context_and_a_modest_number_of_jobs() -> None:
    chosen = fit()
    assert chosen.context_tokens == 8192
    assert 1 < chosen.jobs <= MAX_AUTO_JOBS
    assert chosen.kv_bytes == chosen.context_tokens * chosen.jobs * 23 * KIB <= KV_ENOUGH_BYTES


def test_sixteen_jobs_when_their_kv_is_small() -> None:
    assert fit(context=4096).jobs == MAX_AUTO_JOBS
    assert fit(per_token=4 * KIB).jobs == MAX_AUTO_JOBS


@pytest.mark.parametrize("jobs", [1, 2, 4, 8, 16])
def test_the_context_is_not_divided_by_the_jobs(jobs: int) -> None:
    chosen = fit(context=2048, jobs=jobs)
    assert (chosen.context_tokens, chosen.jobs) == (2048, jobs)
    assert fit(jobs=jobs, free=64 * GIB).context_tokens == 8192


def test_a_large_model_gets_few_jobs_before_a_short_context() -> None:
    chosen = fit(per_token=512 * KIB, free=24 * GIB)  # 4 GiB of KV for 8192 tokens
    assert (chosen.context_tokens, chosen.jobs) == (8192, 1)


def test_a_long_context_is_not_taken_unasked() -> None:
    assert fit(trained=131_072).context_tokens == MAX_AUTO_CONTEXT
    assert fit(trained=131_072, context=100_000, jobs=1).context_tokens >= 100_000


def test_little_memory_shortens_the_context_and_leaves_one_job() -> None:
    chosen = fit(free=GIB // 4)
    assert MIN_CONTEXT <= chosen.context_tokens < 8192
    assert chosen.jobs == 1
    assert chosen.kv_bytes <= GIB // 4


def test_more_jobs_share_what_there_is() -> None:
    assert fit(jobs=16, free=2 * GIB).context_tokens < fit(jobs=1, free=2 * GIB).context_tokens


def test_what_was_asked_for_is_kept() -> None:
    chosen = fit(context=1000, jobs=3)
    assert (chosen.context_tokens, chosen.jobs) == (1024, 3)  # in whole steps of 256


@pytest.mark.parametrize(
    ("context", "jobs", "free", "error", "words"),
    [
        (9000, None, 16 * GIB, LoadFailed, "--context 8192"),
        (8192, 16, GIB, NoRoom, "lower --context or --parallel"),
        (8192, None, GIB // 16, NoRoom, "lower --context"),
    ],
)
def test_what_cannot_be_is_refused_with_advice(
    context: int, jobs: int | None, free: int, error: type[ModelError], words: str
) -> None:
    with pytest.raises(error, match=words):
        fit(context=context, jobs=jobs, free=free)


def test_how_much_is_taken_unasked_can_be_said() -> None:
    few, many = (
        fit_kv(
            bytes_per_token=KIB, trained_tokens=8192, available_bytes=8 * 2**20, context=None, jobs=None, share=share
        )
        for share in (0.25, 1.0)
    )
    assert (few.context_tokens, many.context_tokens) == (2048, 8192)
