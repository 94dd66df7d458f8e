"""Volatile lines: left out where a client puts them, and nothing else is touched."""

import pytest

from localllm.chat.volatile import without_volatile_lines
from localllm.types import Message

BEGINNINGS = ("x-anthropic-billing-header:", "x-request-id:")
BILLING = "x-anthropic-billing-header: cc_version=2.1.0; cch=0f3a9;"
USER = Message("user", f"{BILLING}\nwhat does this line mean?")
ASSISTANT = Message("assistant", BILLING)


def system_after(content: str) -> str:
    """What is left of a system prompt, which must not vanish."""
    kept, *rest = without_volatile_lines([Message("system", content), USER], BEGINNINGS)
    assert kept.role == "system"
    assert rest == [USER]
    return kept.content


def test_two_requests_of_one_client_become_the_same() -> None:
    def sent(number: int) -> tuple[Message, ...]:
        line = f"x-anthropic-billing-header: cc_version=2.1.0; cch={number:05x};"
        return (Message("system", f"{line}\nYou write code."), USER)

    assert sent(1) != sent(2)
    assert without_volatile_lines(sent(1), BEGINNINGS) == without_volatile_lines(sent(2), BEGINNINGS)


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (f"{BILLING}\nYou write code.", "You write code."),
        (f"{BILLING}\r\nYou write code.\r\n", "You write code.\r\n"),
        (f"{BILLING}\n\n  You write code. \n", "\n  You write code. \n"),
        (f"{BILLING}\nx-request-id: 7\n{BILLING}\nYou write code.", "You write code."),
        (f"You write code.\n{BILLING}\nWell.", f"You write code.\n{BILLING}\nWell."),
        (f"{BILLING}\nYou write code.\n{BILLING}", f"You write code.\n{BILLING}"),
        (f"\n{BILLING}\nYou write code.", f"\n{BILLING}\nYou write code."),
        (f" {BILLING}\nYou write code.", f" {BILLING}\nYou write code."),
        ("X-Anthropic-Billing-Header: other case", "X-Anthropic-Billing-Header: other case"),
        ("You write code.", "You write code."),
        ("", ""),
    ],
)
def test_only_the_first_lines_go(content: str, left: str) -> None:
    assert system_after(content) == left


@pytest.mark.parametrize("content", [BILLING, f"{BILLING}\n", f"{BILLING}\r\nx-request-id: 7\n"])
def test_a_message_of_nothing_else_goes(content: str) -> None:
    code = Message("system", f"{BILLING}\nYou write code.")
    messages = [Message("system", content), code, USER]
    assert without_volatile_lines(messages, BEGINNINGS) == (code, USER)  # only the first system message is read


def test_messages_of_others_are_never_touched() -> None:
    assert without_volatile_lines([USER, ASSISTANT], BEGINNINGS) == (USER, ASSISTANT)
    late = Message("system", f"{BILLING}\nYou write code.", name="rules")
    kept = Message("system", "You write code.", name="rules")
    assert without_volatile_lines([USER, ASSISTANT, late], BEGINNINGS) == (USER, ASSISTANT, kept)


def test_without_beginnings_nothing_goes() -> None:
    messages = (Message("system", f"{BILLING}\nYou write code."), USER)
    assert without_volatile_lines(messages, ()) == messages
    assert without_volatile_lines(messages, ("",)) == messages
    assert without_volatile_lines((), BEGINNINGS) == ()
