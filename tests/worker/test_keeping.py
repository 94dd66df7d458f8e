"""Prompts outlive the process that read them: put away when idle, or at the end, and found by the next worker."""

import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from localllm.engines.plan import LoadPlan, Scheduling
from localllm.inference.sequence import FRESH_TOKENS
from localllm.types import ChatRequest, Client, Message, Sampling, TextRequest, Usage
from localllm.worker.handle import WorkerHandle
from tests.marks import slow

pytestmark = pytest.mark.anyio

PROMPT = "the river carried small boats past quiet stone houses " * 8


def plan(model: Path, folder: Path, **scheduling: object) -> LoadPlan:
    chosen = Scheduling(**({"cache_path": str(folder), "cache_bytes": 2**26} | scheduling))  # type: ignore[arg-type]
    return LoadPlan(
        engine="llama_cpp",
        path=str(model),
        identity="tiny",
        max_jobs=2,
        threads=1,
        context_tokens=768,
        scheduling=chosen,
    )


async def ask(handle: WorkerHandle, prompt: str = PROMPT, scope: str = "") -> tuple[str, Usage]:
    text = ""
    request = TextRequest(prompt=prompt, client=Client(scope))
    async for deltas in handle.run(request, Sampling(temperature=0.0, max_tokens=12, ignore_eos=True)):
        text += "".join(delta.text for delta in deltas)
        if deltas[-1].usage is not None:
            return text, deltas[-1].usage
    raise AssertionError("the answer did not end")


async def cached_by_runs(plans: Sequence[LoadPlan], scopes: Sequence[str]) -> list[int]:
    """What each of several workers, one after the other, found of the prompt."""
    found, texts = [], set()
    for each, scope in zip(plans, scopes, strict=True):
        handle = await WorkerHandle.start(each, lambda _: None)
        text, usage = await ask(handle, scope=scope)
        await handle.close()
        found.append(usage.cached_tokens)
        texts.add(text)
    assert len(texts) == 1
    return found


async def test_a_prompt_is_found_after_a_restart(tiny_model: Path, tmp_path: Path) -> None:
    first, second = await cached_by_runs([plan(tiny_model, tmp_path)] * 2, ["", ""])
    assert (first, second) == (0, len(PROMPT) - FRESH_TOKENS)


@pytest.mark.slow
async def test_another_client_does_not_find_it(tiny_model: Path, tmp_path: Path) -> None:
    assert await cached_by_runs([plan(tiny_model, tmp_path)] * 2, ["one", "two"]) == [0, 0]


@pytest.mark.slow
async def test_without_a_budget_nothing_is_written(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kv"
    assert await cached_by_runs([plan(tiny_model, folder, cache_bytes=0)] * 2, ["", ""]) == [0, 0]
    assert not folder.exists()


@pytest.mark.slow
async def test_a_damaged_file_is_dropped_in_silence(tiny_model: Path, tmp_path: Path) -> None:
    assert await cached_by_runs([plan(tiny_model, tmp_path)], [""]) == [0]
    (file,) = [path for path in tmp_path.iterdir() if path.stat().st_size > 4096]
    with file.open("r+b") as opened:
        opened.seek(-1000, os.SEEK_END)
        opened.write(b"damaged")
    assert await cached_by_runs([plan(tiny_model, tmp_path)], [""]) == [0]


@pytest.mark.slow  # it waits for the worker to be idle
async def test_what_is_idle_is_put_away_before_the_end(tiny_model: Path, tmp_path: Path) -> None:
    handle = await WorkerHandle.start(plan(tiny_model, tmp_path), lambda _: None)
    await ask(handle)
    with anyio.fail_after(30):
        while not any(path.suffix != ".part" and path.stat().st_size > 4096 for path in tmp_path.iterdir()):
            await anyio.sleep(0.05)
    os.kill(handle.pid, 9)
    await handle.close()
    assert await cached_by_runs([plan(tiny_model, tmp_path)], [""]) == [len(PROMPT) - FRESH_TOKENS]


@pytest.mark.parametrize("lines", [slow(()), ("x-anthropic-billing-header:",)])
async def test_a_line_that_changes_with_every_request_does_not_defeat_the_cache(
    tiny_model: Path, tmp_path: Path, lines: tuple[str, ...]
) -> None:
    handle = await WorkerHandle.start(plan(tiny_model, tmp_path, cache_bytes=0, volatile_lines=lines), lambda _: None)
    cached = []
    for number in range(2):
        system = f"x-anthropic-billing-header: cc_version=2.1; cch={number}{number};\n{PROMPT}"
        request = ChatRequest(messages=(Message("system", system), Message("user", "hello")))
        async for deltas in handle.run(request, Sampling(temperature=0.0, max_tokens=2, ignore_eos=True)):
            cached += [delta.usage.cached_tokens for delta in deltas if delta.usage]
    await handle.close()
    first, second = cached
    assert first == 0
    assert (second > len(PROMPT)) == bool(lines)
