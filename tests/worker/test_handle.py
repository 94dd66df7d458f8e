"""The worker process: jobs, cancelling, and every way to end."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import psutil
import pytest

from localllm.engines.plan import LoadPlan, Scheduling
from localllm.errors import ContextOverflow, InvalidRequest, LoadFailed, ServiceClosed, TemplateError, WorkerDied
from localllm.types import ChatRequest, Message, Sampling, TextRequest
from localllm.worker.handle import WorkerHandle
from tests.marks import slow

pytestmark = pytest.mark.anyio
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@asynccontextmanager
async def worker(rate: str = "", **fields: object) -> AsyncGenerator[WorkerHandle, None]:
    plan = LoadPlan(**{"engine": "echo", "path": rate, "max_jobs": 4, **fields})  # type: ignore[arg-type]
    handle = await WorkerHandle.start(plan, lambda _: None)
    try:
        yield handle
    finally:
        await handle.close()


async def answer(handle: WorkerHandle, prompt: str | tuple[int, ...], **fields: object) -> str:
    text = ""
    sampling = Sampling(**fields)  # type: ignore[arg-type]
    async with aclosing(handle.run(TextRequest(prompt=prompt), sampling)) as groups:
        async for deltas in groups:
            text += "".join(delta.text for delta in deltas)
    return text


async def until(condition: "object", seconds: float = 5.0) -> None:
    """Wait for a callable to become true."""
    deadline = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.005)


@pytest.mark.slow
async def test_many_jobs_share_a_worker() -> None:
    async with worker() as handle:
        prompts = [f"prompt number {i} – ünïcode" for i in range(30)]
        assert await asyncio.gather(*(answer(handle, prompt) for prompt in prompts)) == prompts


async def test_a_chat_goes_through_the_template() -> None:
    async with worker() as handle:
        request = ChatRequest(messages=(Message("system", "s"), Message("user", "hello")))
        text = ""
        async with aclosing(handle.run(request, Sampling())) as groups:
            async for deltas in groups:
                text += "".join(delta.text for delta in deltas)
        assert text == "hello"


async def test_closing_an_answer_frees_its_place() -> None:
    async with worker("200", max_jobs=1) as handle:
        async with aclosing(handle.run(TextRequest(prompt="x" * 3000), Sampling())) as groups:
            async for deltas in groups:
                if any(delta.text for delta in deltas):
                    break
        began = time.monotonic()
        assert await answer(handle, "next") == "next"
        assert time.monotonic() - began < 1.0  # the other would have taken 15 s


@pytest.mark.slow
async def test_cancelling_the_task_frees_its_place_also_in_prefill_and_queue() -> None:
    async with worker("50", max_jobs=1) as handle:
        tasks = [asyncio.create_task(answer(handle, "y" * 3500)) for _ in range(3)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        began = time.monotonic()
        assert await answer(handle, "ok") == "ok"
        assert time.monotonic() - began < 1.0


async def test_what_is_wrong_with_one_job_leaves_the_others_alone(tiny_model: Path) -> None:
    async with worker("100") as handle:
        running = asyncio.create_task(answer(handle, "z" * 40))
        with pytest.raises(ContextOverflow):
            await answer(handle, "w" * 5000)
        with pytest.raises(InvalidRequest):
            await answer(handle, (5, 99999))
        assert await running == "z" * 40


@pytest.mark.slow
async def test_a_template_that_refuses_is_a_template_error(tmp_path: Path) -> None:
    from tests.tiny import write_tiny_model

    path = write_tiny_model(tmp_path / "t.gguf", template="{{ raise_exception('roles must alternate') }}")
    async with worker(engine="llama_cpp", rate=str(path), context_tokens=256) as handle:
        with pytest.raises(TemplateError, match="roles must alternate"):
            async for _ in handle.run(ChatRequest(messages=(Message("user", "x"),)), Sampling()):
                pass


@pytest.mark.slow
async def test_a_model_without_a_template_says_so(tmp_path: Path) -> None:
    from tests.tiny import write_tiny_model

    path = write_tiny_model(tmp_path / "t.gguf", template=None)
    async with worker(engine="llama_cpp", rate=str(path), context_tokens=256) as handle:
        assert not handle.info.has_chat_template
        with pytest.raises(InvalidRequest, match="no chat template"):
            async for _ in handle.run(ChatRequest(messages=(Message("user", "x"),)), Sampling()):
                pass
        assert await answer(handle, "x", max_tokens=2, ignore_eos=True) is not None


async def test_a_load_that_fails_gives_the_reason_and_leaves_no_process(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\0" * 100)
    before = set(psutil.Process().children())
    with pytest.raises(LoadFailed, match=r"bad\.gguf"):
        async with worker(engine="llama_cpp", rate=str(bad)):
            pass
    assert set(psutil.Process().children()) <= before


@POSIX
@pytest.mark.parametrize("name", ["SIGKILL", slow("SIGSEGV"), slow("SIGABRT")])
async def test_a_death_fails_the_running_jobs_within_a_second(name: str) -> None:
    async with worker("20") as handle:
        tasks = [asyncio.create_task(answer(handle, "x" * 500)) for _ in range(6)]  # running and waiting
        await asyncio.sleep(0.3)
        os.kill(handle.pid, getattr(signal, name))
        began = time.monotonic()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert time.monotonic() - began < 1.0
        assert all(isinstance(result, WorkerDied) for result in results)
        assert not handle.is_alive
        with pytest.raises(WorkerDied):
            await answer(handle, "more")


@POSIX
@pytest.mark.slow
async def test_the_death_says_how() -> None:
    async with worker("20") as handle:
        task = asyncio.create_task(answer(handle, "x" * 500))
        await asyncio.sleep(0.2)
        os.kill(handle.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="signal 9"):
            await task


@POSIX
@pytest.mark.slow
async def test_ctrl_c_in_the_terminal_does_not_reach_the_engine() -> None:
    async with worker("100") as handle:
        task = asyncio.create_task(answer(handle, "x" * 50))
        await asyncio.sleep(0.1)
        os.kill(handle.pid, signal.SIGINT)
        assert await task == "x" * 50


async def test_closing_ends_the_process_and_fails_what_runs() -> None:
    async with worker("20") as handle:
        task = asyncio.create_task(answer(handle, "x" * 500))
        await asyncio.sleep(0.2)
        pid = handle.pid
        began = time.monotonic()
        await handle.close()
        await handle.close()
        assert time.monotonic() - began < 2.5
        assert not psutil.pid_exists(pid)
        with pytest.raises(ServiceClosed):
            await task


@pytest.mark.slow
@POSIX
async def test_a_worker_that_hangs_is_killed_at_close() -> None:
    async with worker("20") as handle:
        os.kill(handle.pid, signal.SIGSTOP)
        pid = handle.pid
        await handle.close()
        assert not psutil.pid_exists(pid)


@pytest.mark.slow
async def test_a_worker_that_keeps_prompts_puts_them_away_at_close(tmp_path: Path) -> None:
    keeping = {"identity": "one", "scheduling": Scheduling(cache_path=str(tmp_path / "kv"), cache_bytes=2**20)}
    prompt = "a prompt that is long enough to be worth remembering. " * 20
    cached = []
    for _ in range(2):
        async with worker(**keeping) as handle:  # type: ignore[arg-type]
            async with aclosing(handle.run(TextRequest(prompt=prompt), Sampling(max_tokens=3))) as groups:
                usages = [delta.usage async for deltas in groups for delta in deltas if delta.usage]
            cached.append(usages[-1].cached_tokens)
    assert cached[0] == 0
    assert cached[1] > len(prompt) / 2


async def test_cancelling_the_start_leaves_no_process() -> None:
    before = set(psutil.Process().children())
    task = asyncio.create_task(WorkerHandle.start(LoadPlan(engine="echo", path=""), lambda _: None))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: set(psutil.Process().children()) <= before)


async def test_measurements() -> None:
    async with worker() as handle:
        await answer(handle, "hello")
        measured = await handle.measure()
        assert measured.peak_memory_bytes > 10 * 2**20
        assert measured.steps >= 5
        assert 0 < measured.python_share < 1


PARENT = """
import asyncio, sys
from localllm.engines.plan import LoadPlan, Scheduling
from localllm.types import Sampling, TextRequest
from localllm.worker.handle import WorkerHandle

async def main():
    handle = await WorkerHandle.start(LoadPlan(engine="echo", path="20"), lambda _: None)
    print(handle.pid, flush=True)
    async for _ in handle.run(TextRequest(prompt="x" * 3000), Sampling()):
        pass

asyncio.run(main())
"""


@POSIX
@pytest.mark.slow
def test_no_orphan_when_the_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.2)
        parent.kill()
        child.wait(timeout=5)
