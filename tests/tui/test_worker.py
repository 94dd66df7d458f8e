"""The app over a real worker process."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from localllm.config import Settings
from tests.serving import running_service
from tests.tui.pilots import Driver, driving

pytestmark = pytest.mark.anyio
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def answers(user: Driver, text: str) -> int:
    return sum(text in row and "▌" not in row for row in user.rows)


async def test_a_question_is_answered_and_quitting_ends_the_worker() -> None:
    before = children()
    async with running_service("echo") as service:
        async with driving(service) as user:
            assert len(children() - before) == 1
            await user.ask("echo this")
            await user.until(lambda: answers(user, "echo this") == 1)
            await user.until(lambda: user.status.startswith("echo · echo/cpu · context 19/4.1k (0%)"))
            await user.ask("/quit")
            await user.until(lambda: not user.app.is_running)
        assert children() <= before  # the app closed the service


@POSIX
@pytest.mark.slow
async def test_a_killed_worker_is_a_line_and_retry_brings_another() -> None:
    before = children()
    async with running_service("echo:20") as service, driving(service) as user:
        (worker,) = children() - before
        await user.ask("a b c d e f g h i j k l m n o p q r s t u v w x y z " * 4)
        await user.until(lambda: answers(user, "a b c"))
        await user.type("draft")
        os.kill(worker.pid, signal.SIGKILL)
        await user.until(lambda: user.errors)
        assert "Ctrl+R tries again." in user.errors[0]
        assert user.prompt.text == "draft"
        await user.press("ctrl+r")
        await user.until(lambda: not user.errors and answers(user, "a b c") == 2)
        assert children() - before != {worker}
        await user.press("escape")
        await user.shows("Stopped.")


@POSIX
@pytest.mark.slow
async def test_a_worker_that_died_while_idle_is_not_even_noticed() -> None:
    before = children()
    async with running_service("echo") as service, driving(service) as user:
        (worker,) = children() - before
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(10)
        await asyncio.sleep(0.5)  # idle: its end reaches the loop before a question does
        await user.ask("still there")
        await user.until(lambda: answers(user, "still there"))
        assert user.errors == []


@pytest.mark.slow
async def test_a_stopped_answer_frees_the_worker_for_the_next() -> None:
    async with running_service("echo:100", jobs=1) as service, driving(service) as user:
        await user.ask("slow " * 400)
        await user.until(lambda: answers(user, "slow"))
        await user.press("escape")
        await user.ask("quick")
        await user.until(lambda: answers(user, "quick") and "tok/s" in user.status)


@pytest.mark.slow
async def test_a_question_too_long_for_the_context_says_what_to_do() -> None:
    settings = Settings(context=64)
    async with running_service("echo", settings=settings) as service, driving(service) as user:
        await user.ask("x" * 100)
        await user.until(lambda: user.errors)
        assert "64" in user.errors[0]
        assert user.errors[0].endswith("Or /clear starts a new chat.")
        await user.ask("short")
        await user.until(lambda: answers(user, "short"))


@pytest.mark.slow
async def test_a_model_that_cannot_be_loaded_is_a_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(64))
    async with running_service(str(bad)) as service, driving(service, is_loaded=False) as user:
        await user.until(lambda: user.errors)
        assert "bad.gguf" in user.errors[0]
        assert user.app.is_running
