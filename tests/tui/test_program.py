"""The app over a program of ExecuTorch in its worker."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import cast

import msgspec
import psutil
import pytest

from localllm.cli.compose import make_service
from localllm.config import Settings
from localllm.runtime.local import LocalService
from localllm.service import ChatService
from localllm.types import ChatRequest, Event, ModelDefaults, Sampling, TextDelta
from tests.exports import CONTEXT, PROGRAM, skip_without_executorch, tiny_program  # noqa: F401  # a fixture
from tests.serving import local_model
from tests.tiny import SPECIAL
from tests.tui.pilots import driving

skip_without_executorch()

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]  # it may have to export the program

LETTER_A = len(SPECIAL) + ord("A")
ENDLESS = Sampling(logit_bias={LETTER_A: 100.0}, ignore_eos=True)  # until the context is full


@asynccontextmanager
async def shouting(folder: Path) -> AsyncGenerator[LocalService, None]:
    """A service whose model answers with the letter A alone, and with nothing else to be read on a screen."""
    model = msgspec.structs.replace(local_model(str(folder / PROGRAM)), defaults=ModelDefaults(sampling=ENDLESS))
    service = make_service([model], Settings(), jobs=1)
    try:
        yield service
    finally:
        await service.close()


class Halting:
    """A service whose worker halts at the first text of its first answer: it would be done before a user could act."""

    def __init__(self, service: LocalService) -> None:
        self._service = service
        self.halted: psutil.Process | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._service, name)

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        async with aclosing(self._service.chat(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta) and self.halted is None:
                    self.halted = psutil.Process((await self._service._models["tiny"].worker()).pid)
                    self.halted.suspend()
                yield event


async def test_an_answer_is_stopped_and_the_chat_goes_on(tiny_program: Path) -> None:  # noqa: F811
    async with shouting(tiny_program) as service:
        halting = Halting(service)
        async with driving(cast(ChatService, halting), is_loaded=False) as user:
            await user.shows(f"tiny · executorch/cpu · context 0/{CONTEXT} (0%)")
            await user.ask("hi")
            await user.until(lambda: "answering" in user.status)
            await user.press("escape")
            await user.shows("Stopped.")
            assert halting.halted is not None
            halting.halted.resume()
            await user.ask("and on")
            await user.shows(f"Cut here: the context of {CONTEXT} tokens is full.")
            assert (await service.measure()).steps < 1.5 * CONTEXT  # not all of the first
            assert "tok/s" in user.status
            assert user.errors == []
