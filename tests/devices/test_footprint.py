"""Memory before loading: by hand, against the library's own figures, and against real processes."""

import asyncio
import json
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import msgspec
import psutil
import pytest

from localllm.devices.footprint import (
    Footprint,
    KvType,
    ModelShape,
    compute_bytes,
    fits_kv_type,
    footprint,
    kv_bytes,
    kv_bytes_per_token,
    overhead_bytes,
    repacked_types,
)
from localllm.engines.plan import LoadPlan
from localllm.models.local import LocalModel
from localllm.types import Sampling, TextRequest
from localllm.worker.handle import WorkerHandle
from tests import tiny
from tests.devices.shapes import EIGHT_BILLION, SLIDING, shape_of
from tests.marks import slow

MIB = 2**20
Q8: KvType = "q8_0"
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory means something else here")
TOLERANCE = 0.15

F16, Q8_0 = 1, 8  # enum ggml_type
CASES = [[context, jobs, flash, F16] for context in (256, 512, 1024) for jobs in (1, 4) for flash in (0, 1)]
SMALL_CASES = [[context, jobs, 1, Q8_0] for context in (256, 1024) for jobs in (1, 4)]


def changed(shape: ModelShape, **fields: object) -> ModelShape:
    return msgspec.structs.replace(shape, **fields)


def need(shape: ModelShape, *, context: int = 2048, jobs: int = 1, flash: bool = False) -> Footprint:
    return footprint(shape, context_tokens=context, jobs=jobs, flash_attention=flash)


def test_kv_is_two_bytes_for_each_value_of_each_head_and_layer() -> None:
    assert kv_bytes_per_token(EIGHT_BILLION) == 128 * 1024  # as every table of Llama 3 8B says
    assert need(EIGHT_BILLION, context=8192, jobs=3).kv_bytes == 3 * 2**30


def test_small_kv_is_34_bytes_for_32_values() -> None:
    assert kv_bytes_per_token(EIGHT_BILLION, "q8_0") == 128 * 1024 * 34 // 64
    small, usual = (
        footprint(EIGHT_BILLION, context_tokens=8192, jobs=2, flash_attention=True, kv_type=kv_type)
        for kv_type in (Q8, "f16")
    )
    assert small.kv_bytes * 64 == usual.kv_bytes * 34
    assert small.weights_bytes == usual.weights_bytes


def test_small_kv_needs_heads_of_whole_blocks() -> None:
    assert fits_kv_type(EIGHT_BILLION, "q8_0")
    assert not fits_kv_type(changed(EIGHT_BILLION, key_length=80, value_length=96), "q8_0")
    assert fits_kv_type(changed(EIGHT_BILLION, key_length=80), "f16")


def test_layers_may_have_different_kv_heads_or_none() -> None:
    mixed = changed(EIGHT_BILLION, kv_heads=(8, 0, 2, 0))
    assert kv_bytes_per_token(mixed) == 10 * 256 * 2


def test_the_context_is_allocated_in_steps_of_256() -> None:
    assert need(EIGHT_BILLION, context=1) == need(EIGHT_BILLION, context=256)
    assert need(EIGHT_BILLION, context=257) == need(EIGHT_BILLION, context=512)


@pytest.mark.parametrize(
    ("context", "full", "windowed"),
    [
        (8192, 48, 8 + 5),  # MiB: a layer of 8192 tokens has 8, and one of the window and a micro-batch 1 (measured)
        (1024, 6, 6),
        (512, 3, 3),
    ],
)
def test_a_sliding_window_bounds_its_layers_where_the_library_is_told_so(
    context: int, full: int, windowed: int
) -> None:
    assert kv_bytes(SLIDING, context_tokens=context) == full * MIB
    assert kv_bytes(SLIDING, context_tokens=context, swa_full=False) == windowed * MIB


def test_a_window_grows_no_more_once_it_is_full() -> None:
    sliding = changed(SLIDING, sliding_layers=6)
    sizes = {kv_bytes(sliding, context_tokens=tokens, swa_full=False) for tokens in (1024, 4096, 32768)}
    assert len(sizes) == 1


def test_total_is_the_sum_and_copied_weights_count_once() -> None:
    plain, copied = need(EIGHT_BILLION), need(changed(EIGHT_BILLION, repacked_bytes=4_000_000_000))
    assert plain.total_bytes == copied.total_bytes == copied.resident_bytes - 4_000_000_000
    assert plain.total_bytes == (plain.weights_bytes + plain.kv_bytes + plain.compute_bytes + plain.overhead_bytes)
    assert plain.weights_bytes == EIGHT_BILLION.weights_bytes


@pytest.mark.parametrize("flash", [False, True])
def test_attention_scores_are_in_memory_only_without_flash_attention(flash: bool) -> None:
    rows, context = 256, 8192
    size = compute_bytes(EIGHT_BILLION, context_tokens=context, flash_attention=flash, rows=rows, outputs=1)
    scores = EIGHT_BILLION.heads * context * rows * 4
    assert (size > scores) is not flash


def test_buffers_do_not_depend_on_the_jobs_but_for_their_logits() -> None:
    one, eight = need(EIGHT_BILLION, jobs=1), need(EIGHT_BILLION, jobs=8)
    assert eight.compute_bytes - one.compute_bytes == 7 * 4 * EIGHT_BILLION.vocabulary


@pytest.mark.parametrize("field", ["embedding_width", "feed_forward_width", "heads", "vocabulary", "weights_bytes"])
def test_more_of_anything_takes_no_less(field: str) -> None:
    more = changed(EIGHT_BILLION, **{field: 4 * getattr(EIGHT_BILLION, field)})
    assert need(more).total_bytes > need(EIGHT_BILLION).total_bytes


@pytest.mark.parametrize("flash", [False, True])
def test_more_context_and_more_jobs_take_more(flash: bool) -> None:
    sizes = [need(EIGHT_BILLION, context=tokens, flash=flash).total_bytes for tokens in range(256, 8193, 256)]
    assert sizes == sorted(set(sizes))
    sizes = [need(EIGHT_BILLION, jobs=jobs, flash=flash).total_bytes for jobs in range(1, 17)]
    assert sizes == sorted(set(sizes))


def test_every_expert_used_has_activations() -> None:
    experts = changed(SLIDING, experts=32, experts_used=8)
    assert need(experts, flash=True).compute_bytes > 4 * need(SLIDING, flash=True).compute_bytes


def test_a_vocabulary_costs_memory_of_its_own() -> None:
    assert overhead_bytes(EIGHT_BILLION) - overhead_bytes(SLIDING) > 20 * MIB


def test_which_weights_are_copied_depends_on_the_processor() -> None:
    assert "Q8_0" not in repacked_types("x86_64")
    assert repacked_types("AMD64") < repacked_types("aarch64") == repacked_types("arm64")
    assert not repacked_types("riscv64")


def said_by_the_library(path: Path, cases: list[list[int]]) -> list[dict[str, float]]:
    """MiB of what it reserves."""
    script = str(Path(__file__).with_name("reserving.py"))
    command = [sys.executable, script, str(path), json.dumps(cases)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=100)
    found: list[dict[str, float]] = json.loads(done.stdout)
    return found


def check_reserved(path: Path, cases: list[list[int]], kv_type: KvType) -> None:
    shape = shape_of(path)
    for (context, jobs, flash, _), said in zip(cases, said_by_the_library(path, cases), strict=True):
        rows = min(512, context * jobs)
        reserved = compute_bytes(shape, context_tokens=context, flash_attention=bool(flash), rows=rows, outputs=rows)
        assert reserved / MIB == pytest.approx(said["compute"], rel=TOLERANCE, abs=0.25), (context, jobs, flash)
        kv = kv_bytes(shape, context_tokens=context, kv_type=kv_type) * jobs
        assert kv / MIB == pytest.approx(said["KV"], abs=0.01)


def test_the_library_reserves_what_the_formula_says(tiny_model: Path) -> None:
    check_reserved(tiny_model, CASES, "f16")


def test_the_library_reserves_what_the_formula_says_of_small_kv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "HEADS", 2)
    monkeypatch.setattr(tiny, "KV_HEADS", 1)
    check_reserved(tiny.write_tiny_model(tmp_path / "wide.gguf"), SMALL_CASES, "q8_0")


async def resident_bytes(
    path: str, *, context: int, jobs: int, flash: bool, prompt_tokens: int, kv_type: KvType = "f16"
) -> int:
    """Of a real worker that has answered `jobs` prompts at once."""
    plan = LoadPlan(
        engine="llama_cpp",
        path=path,
        context_tokens=context,
        max_jobs=jobs,
        threads=1,
        flash_attention=flash,
        kv_type=kv_type,
    )
    others = {child.pid for child in psutil.Process().children()}
    handle = await WorkerHandle.start(plan, lambda _: None)
    try:
        (worker,) = (child for child in psutil.Process().children() if child.pid not in others)
        await asyncio.gather(*(_answer(handle, prompt_tokens, job) for job in range(jobs)))
        return int(worker.memory_info().rss)
    finally:
        await handle.close()


async def _answer(handle: WorkerHandle, prompt_tokens: int, job: int) -> None:
    prompt = tuple(3 + (position * (job + 7)) % 250 for position in range(prompt_tokens))
    sampling = Sampling(temperature=0.0, max_tokens=2, ignore_eos=True)
    async with aclosing(handle.run(TextRequest(prompt=prompt), sampling)) as groups:
        async for _ in groups:
            pass


@pytest.mark.slow
@LINUX
@pytest.mark.anyio
@pytest.mark.parametrize(("context", "jobs", "flash"), [slow(1024, 1, False), (1024, 16, True)])
async def test_a_worker_with_a_tiny_model_takes_what_was_said(
    tiny_model: Path, context: int, jobs: int, flash: bool
) -> None:
    said = need(shape_of(tiny_model), context=context, jobs=jobs, flash=flash)
    real = await resident_bytes(str(tiny_model), context=context, jobs=jobs, flash=flash, prompt_tokens=600)
    assert said.resident_bytes == pytest.approx(real, rel=TOLERANCE)


@LINUX
@pytest.mark.anyio
@pytest.mark.real_model
@pytest.mark.slow
@pytest.mark.parametrize(
    ("context", "jobs", "flash", "prompt_tokens", "kv_type"),
    [
        (512, 1, False, 300, "f16"),
        (512, 16, True, 8, "f16"),
        (2048, 1, False, 2000, "f16"),
        (4096, 1, True, 2000, "q8_0"),
        (2048, 4, True, 300, "q8_0"),
    ],
)
async def test_a_worker_with_the_starter_model_takes_what_was_said(
    starter_model: LocalModel, context: int, jobs: int, flash: bool, prompt_tokens: int, kv_type: KvType
) -> None:
    shape = shape_of(Path(starter_model.path))
    said = footprint(shape, context_tokens=context, jobs=jobs, flash_attention=flash, kv_type=kv_type)
    real = await resident_bytes(
        starter_model.path, context=context, jobs=jobs, flash=flash, prompt_tokens=prompt_tokens, kv_type=kv_type
    )
    assert said.resident_bytes == pytest.approx(real, rel=TOLERANCE)
