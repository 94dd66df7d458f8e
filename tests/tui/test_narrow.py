"""The app at 60 columns and 20 rows."""

import pytest

from localllm.errors import WorkerDied
from localllm.tui.prompt import PLACEHOLDER
from tests.tui.fakes import FakeService, says
from tests.tui.pilots import driving

pytestmark = pytest.mark.anyio
SIZE = (60, 20)


async def test_everything_has_its_place() -> None:
    async with driving(FakeService(says("word " * 200)), size=SIZE) as user:
        assert "F1 help" in next(row for row in user.rows if "localllm" in row)
        assert PLACEHOLDER in user.text
        await user.ask("a question that is longer than the sixty columns that there are here")
        await user.done()
        await user.until(lambda: user.rows[-2].strip() == "fake:1b · context 21/1.0k (2%) · 10.0 tok/s")
        await user.until(lambda: "Retry" in user.footer)
        assert user.footer.split() == ["^Y", "Copy", "^R", "Retry", "^N", "New", "chat", "F1", "Help", "^Q", "Quit"]
        assert {len(row) for row in user.rows} == {60}
        assert user.prompt.region.bottom == 18


@pytest.mark.slow
async def test_a_long_draft_leaves_room_for_the_chat() -> None:
    async with driving(FakeService(), size=SIZE) as user:
        await user.type("line\n" * 30 + "last")
        await user.shows("last")
        assert user.transcript.size.height >= 5
        assert "context" in user.rows[-2]


@pytest.mark.slow
async def test_a_long_error_is_wrapped_and_not_cut() -> None:
    async with driving(FakeService([WorkerDied("word " * 30 + "end")]), size=SIZE) as user:
        await user.ask("q")
        await user.shows("end. Ctrl+R")
        assert " ".join(user.text.replace("▌", " ").split()).count("word end. Ctrl+R tries again.") == 1
        assert user.text.lower().count("word") == 30


@pytest.mark.slow
async def test_the_help_can_be_scrolled_to_its_end() -> None:
    async with driving(FakeService(), size=SIZE) as user:
        await user.press("f1")
        await user.shows("Keys and commands")
        await user.press("end")
        await user.shows("/bye")
        assert "Esc closes" in user.text
