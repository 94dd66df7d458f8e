"""A worker with a program of ExecuTorch: ends that are no errors of the program's."""

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from localllm.engines.plan import LoadPlan
from localllm.errors import LoadFailed, ServiceClosed, WorkerDied
from localllm.types import Sampling, TextRequest
from localllm.worker.handle import WorkerHandle
from tests.exports import CONTEXT, PROGRAM, skip_without_executorch, tiny_program  # noqa: F401  # a fixture

skip_without_executorch()

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]  # the first may have to export it
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture
def plan(tiny_program: Path) -> LoadPlan:  # noqa: F811
    beside = {path.name: str(path) for path in tiny_program.glob("*.json")}
    return LoadPlan(engine="executorch", path=str(tiny_program / PROGRAM), beside=beside, max_jobs=2)


def silent(_fraction: float) -> None:
    pass


async def answer(handle: WorkerHandle, on_text: Callable[[], object]) -> None:
    """Runs an answer that takes all of the context, and tells of its first text."""
    request, sampling = TextRequest(prompt="Once"), Sampling(temperature=0.0, ignore_eos=True)
    async with aclosing(handle.run(request, sampling)) as groups:
        async for deltas in groups:
            if any(delta.text for delta in deltas):
                on_text()


@POSIX
@pytest.mark.parametrize("how", ["kill", "close"])
async def test_answers_end_with_their_worker(plan: LoadPlan, how: str) -> None:
    handle = await WorkerHandle.start(plan, silent)
    try:
        worker, speaks = psutil.Process(handle.pid), asyncio.Event()
        running = [asyncio.create_task(answer(handle, speaks.set)) for _ in range(3)]  # one of them waits
        await speaks.wait()
        if how == "kill":
            worker.kill()
        else:
            await handle.close()
        ended = await asyncio.gather(*running, return_exceptions=True)
        assert {type(error) for error in ended} == {WorkerDied if how == "kill" else ServiceClosed}
        assert not worker.is_running()
    finally:
        await handle.close()


@POSIX
async def test_killed_while_it_loads_it_is_a_load_that_failed(plan: LoadPlan) -> None:
    before = set(psutil.Process().children())
    start = asyncio.create_task(WorkerHandle.start(plan, silent))
    while not (workers := set(psutil.Process().children()) - before):
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.5)  # about when torch is imported
    workers.pop().kill()
    with pytest.raises(LoadFailed, match="signal 9"):
        await start
    assert set(psutil.Process().children()) <= before


async def test_a_load_that_is_called_off_leaves_no_process(plan: LoadPlan) -> None:
    before, told = set(psutil.Process().children()), asyncio.Event()
    start = asyncio.create_task(WorkerHandle.start(plan, lambda _fraction: told.set()))
    await told.wait()  # the library is imported, and the program is being read
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    assert set(psutil.Process().children()) <= before


async def test_it_tells_how_far_it_is_and_what_it_takes(plan: LoadPlan) -> None:
    told: list[float] = []
    handle = await WorkerHandle.start(plan, told.append)
    try:
        assert told == sorted(told)
        assert (told[-1], len(set(told)) > 2) == (1.0, True)
        await answer(handle, lambda: None)
        measured = await handle.measure()
        assert measured.steps >= CONTEXT - len("Once") - 1
        assert measured.peak_memory_bytes > 50 * 2**20  # torch alone
        assert 0 < measured.python_share < 1
    finally:
        await handle.close()
