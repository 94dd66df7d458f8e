"""Help, palette, themes, copying: commands by key and by name."""

import asyncio

import pytest

from localllm.tui import clipboard
from tests.tui.fakes import FakeService, pauses, says
from tests.tui.pilots import driving

pytestmark = pytest.mark.anyio


async def test_copying_by_the_terminal_where_there_is_no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipboard, "TOOLS", ())
    async with driving(FakeService(says("**bold**\x1b[31m answer"))) as user:
        assert "Copy" not in user.footer
        await user.ask("/copy")
        await user.until(lambda: user.hint == "There is no answer to copy yet.")
        await user.ask("q")
        await user.shows("bold answer")
        await user.done()
        await user.press("ctrl+y")
        await user.until(lambda: user.hint == "Copied by the terminal.")
        assert user.app.clipboard == "**bold** answer"


async def test_the_help_lies_over_the_chat() -> None:
    gate = asyncio.Event()
    service = FakeService(pauses("slow", gate, " done"))
    async with driving(service) as user:
        await user.ask("q")
        await user.press("f1")
        await user.shows("Keys and commands")
        assert "Ask the last question again" in user.text
        await user.press("escape")
        await user.until(lambda: "Keys and commands" not in user.text)
        assert user.chat._answering is not None  # Esc closed the help alone
        gate.set()
        await user.shows("slow done")


async def test_the_palette_runs_what_is_in_the_table() -> None:
    async with driving(FakeService(says("first answer"))) as user:
        await user.ask("q")
        await user.shows("first answer")
        await user.done()
        await user.press("ctrl+p")
        await user.until(lambda: user.app.screen is not user.chat)
        await user.type("new chat")
        await user.shows("Forget this conversation")
        await user.press("enter")
        await user.until(lambda: user.app.screen is user.chat and "first answer" not in user.text)


@pytest.mark.slow
async def test_the_theme_can_be_chosen() -> None:
    async with driving(FakeService()) as user:
        await user.ask("/theme")
        await user.shows("gruvbox")


async def test_an_unknown_command_stays_in_the_prompt() -> None:
    service = FakeService()
    async with driving(service) as user:
        await user.ask("/hepl")
        assert user.prompt.text == "/hepl"
        assert "No command /hepl" in user.hint
        assert service.requests == []
