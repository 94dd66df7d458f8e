"""What model text may hold, and what becomes of it."""

import asyncio

import pytest

from localllm.tui.pages import MOST_MARKDOWN_LINES
from localllm.types import PromptProgress, TextDelta
from tests.tui.fakes import FakeService, pauses, says
from tests.tui.pilots import driving

pytestmark = pytest.mark.anyio

NASTY = (
    "[/x] [bold]not bold[/bold] [@click=app.quit]x[/]\n\n<b>html</b> <script>\n\n\x1b[2J\x1b]0;owned\x07"
    "a\ud800b \u202ec\n\n\tindented\n\n| a |\n|---\n\n```\nnever closed [/y]"
)


@pytest.mark.slow
async def test_nothing_in_an_answer_or_a_question_breaks_the_screen() -> None:
    async with driving(FakeService(says(*NASTY))) as user:
        await user.ask("[/q] <i> \x1b[31m")
        await user.shows("never closed [/y]")
        await user.done()
        assert "[/x] [bold]not bold[/bold]" in user.text
        assert "<b>html</b>" in user.text
        assert "[/q] <i>" in user.text
        assert "a\ufffdb c" in user.text
        assert "\x1b" not in user.text
        assert user.errors == []


async def test_markdown_is_drawn_and_lists_are_counted() -> None:
    text = "# Title\n\n1. **first**\n1. second\n   - nested\n\nAfter.\n\n```python\nprint(1)\n```\n"
    async with driving(FakeService(says(*text))) as user:
        await user.ask("q")
        await user.shows("print(1)")
        rows = [row.strip() for row in user.rows if row.strip()]
        start = rows.index("Title")
        assert rows[start : start + 6] == ["Title", "1. first", "2. second", "• nested", "After.", "print(1)"]


@pytest.mark.slow
async def test_there_is_one_blank_row_between_blocks() -> None:
    text = "# Title\n\nPara.\n\n- a\n- b\n\nAfter.\n\n```\ncode\n```\n\n## Next\n\nEnd.\n"
    async with driving(FakeService(says(text))) as user:
        await user.ask("q")
        await user.shows("End.")
        rows = [row.strip() for row in user.rows]
        shown = rows[rows.index("▌q") : rows.index("End.") + 1]
        assert shown == [
            "▌q",
            "",
            "Title",
            "",
            "Para.",
            "",
            "• a",
            "• b",
            "",
            "After.",
            "",
            "code",
            "",
            "Next",
            "",
            "End.",
        ]


@pytest.mark.slow
async def test_a_list_at_the_end_keeps_its_distance() -> None:
    async with driving(FakeService(says("- a\n", "- b\n", reason="length"))) as user:
        await user.ask("q")
        await user.shows("Cut here")
        await user.shows("• b")
        rows = [row.strip() for row in user.rows]
        assert rows[rows.index("• a") : rows.index("• b") + 3] == [
            "• a",
            "• b",
            "",
            "Cut here: the answer reached its longest allowed length.",
        ]


@pytest.mark.slow
async def test_a_runaway_answer_stays_readable_and_can_be_stopped() -> None:
    line = "```\n" + "word\n" * MOST_MARKDOWN_LINES
    service = FakeService([PromptProgress(0, 1), TextDelta(line), TextDelta("**raw** end"), asyncio.Event()])
    async with driving(service) as user:
        await user.ask("q")
        await user.shows("**raw** end")
        await user.press("escape")
        await user.shows("Stopped.")


@pytest.mark.slow
async def test_resizing_while_an_answer_comes() -> None:
    gate = asyncio.Event()
    service = FakeService(pauses("word " * 40, gate, "the end"))
    async with driving(service) as user:
        await user.ask("q")
        await user.shows("word")
        await user.pilot.resize_terminal(60, 20)
        gate.set()
        await user.pilot.resize_terminal(80, 24)
        await user.shows("the end")
        assert len(user.rows) == 24
