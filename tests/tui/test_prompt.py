"""The prompt, key by key."""

import pytest
from textual.events import Key, Paste

from tests.marks import slow
from tests.tui.fakes import FakeService
from tests.tui.pilots import driving

pytestmark = pytest.mark.anyio


async def test_what_is_typed_right_after_enter_is_the_next_draft() -> None:
    service = FakeService()
    async with driving(service) as user:
        await user.press("o", "n", "e", "enter", "t", "w", "o")
        assert user.prompt.text == "two"
        assert service.requests[0].messages[-1].content == "one"


async def test_keys_act_in_the_order_typed_however_fast_they_come() -> None:
    service = FakeService()
    async with driving(service) as user:
        for key in ("a", "b", "backspace", "c", "left", "d", "end", "e", "enter", "f"):
            user.app.post_message(Key(key, key if len(key) == 1 else None))
        await user.until(lambda: service.requests)
        assert service.requests[0].messages[-1].content == "adce"
        await user.until(lambda: user.prompt.text == "f")


@pytest.mark.slow
async def test_new_lines() -> None:
    service = FakeService()
    async with driving(service) as user:
        await user.press("a", "ctrl+j", "b", "shift+enter", "c", "enter")
        await user.until(lambda: service.requests)
        assert service.requests[0].messages[-1].content == "a\nb\nc"
        assert user.prompt.text == ""


@pytest.mark.slow
async def test_a_blank_message_is_not_sent() -> None:
    service = FakeService()
    async with driving(service) as user:
        await user.press("enter", "space", "enter", "ctrl+j", "enter")
        assert service.requests == []


@pytest.mark.parametrize("end", ["\r", slow("\r\n"), slow("\n")])  # the first is what terminals send
async def test_pasted_lines_stay_lines_and_are_not_sent(end: str) -> None:
    service = FakeService()
    async with driving(service) as user:
        user.prompt.post_message(Paste(f"one{end}\ttwo\x1b[31m{end}"))
        await user.until(lambda: user.prompt.text)
        assert user.prompt.text == "one\n\ttwo\n"
        assert service.requests == []


@pytest.mark.slow
async def test_a_paste_takes_the_place_of_the_selection() -> None:
    async with driving(FakeService()) as user:
        await user.type("one two")
        user.prompt.select_all()
        await user.type("three")
        await user.press("!")
        assert user.prompt.text == "three!"


@pytest.mark.slow
async def test_earlier_messages_come_back_and_so_does_the_draft() -> None:
    async with driving(FakeService()) as user:
        for text in ("first", "second"):
            await user.ask(text)
            await user.done()
        await user.type("draft")
        await user.press("up")
        assert user.prompt.text == "second"
        await user.press("up", "up")
        assert user.prompt.text == "first"
        await user.press("down", "down")
        assert user.prompt.text == "draft"


@pytest.mark.slow
async def test_up_moves_the_cursor_in_a_draft_of_lines() -> None:
    async with driving(FakeService()) as user:
        await user.ask("sent")
        await user.type("one\ntwo")
        await user.press("up", "x")
        assert user.prompt.text == "onex\ntwo"


async def test_commands_are_offered_and_completed() -> None:
    service = FakeService()
    async with driving(service) as user:
        await user.press("slash")
        assert "/help" in user.hint
        assert "/quit" in user.hint
        await user.press("h")
        assert user.hint == "/help"
        await user.press("tab")
        assert user.prompt.text == "/help"
        await user.press("enter")
        await user.shows("Keys and commands")
        assert service.requests == []


@pytest.mark.slow
async def test_a_hint_goes_when_typing_goes_on() -> None:
    async with driving(FakeService()) as user:
        await user.ask("/stop")
        await user.until(lambda: user.hint == "No answer is running.")
        await user.press("a")
        assert user.hint == ""


@pytest.mark.slow
async def test_tab_without_a_suggestion_types_nothing() -> None:
    async with driving(FakeService()) as user:
        await user.type("word")
        await user.press("tab")
        assert user.prompt.text == "word"
        assert user.prompt.has_focus
