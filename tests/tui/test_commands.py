"""The table of commands, and what typed text means."""

import pytest
from textual.actions import parse

from localllm.tui.app import ChatApp
from localllm.tui.chat_screen import ChatScreen
from localllm.tui.commands import COMMANDS, PROMPT_KEYS, Command, bindings, help_rows, matching, understand
from localllm.tui.prompt import Prompt


def names(commands: list[Command]) -> list[str]:
    return [command.name for command in commands]


def test_no_name_key_or_slash_command_is_taken_twice() -> None:
    for values in (
        names(list(COMMANDS)),
        [key for command in COMMANDS for key in command.key_list],
        [slash for command in COMMANDS for slash in command.slashes],
    ):
        assert len(values) == len(set(values))


@pytest.mark.parametrize("command", COMMANDS, ids=names(list(COMMANDS)))
def test_every_action_exists_where_it_runs(command: Command) -> None:
    namespace, name, _ = parse(command.action)
    owner = ChatApp if namespace == "app" else {"prompt": Prompt, "screen": ChatScreen}[command.place]
    assert callable(getattr(owner, f"action_{name}"))


@pytest.mark.parametrize("command", COMMANDS, ids=names(list(COMMANDS)))
def test_every_command_can_be_reached_and_says_what_it_does(command: Command) -> None:
    assert command.key_list or command.slashes
    assert command.title
    assert command.help
    assert command.keys or not command.is_in_footer
    assert all(slash == slash.lower() and understand(slash) is command for slash in command.slashes)


def test_no_key_is_one_that_terminals_send_for_another() -> None:
    same = {"ctrl+m", "ctrl+i", "ctrl+h", "ctrl+left_square_bracket"}  # Enter, Tab, Backspace, Esc
    assert not same & {key for command in COMMANDS for key in command.key_list}


def test_keys_are_bound_by_the_screen_or_by_the_prompt() -> None:
    bound = [binding.key for binding in bindings() if not isinstance(binding, tuple)]
    assert sorted([*",".join(bound).split(","), *PROMPT_KEYS]) == sorted(
        key for command in COMMANDS for key in command.key_list
    )


def test_the_help_lists_every_command() -> None:
    rows = help_rows()
    assert [row[2] for row in rows] == [command.help for command in COMMANDS]
    assert ("Ctrl+J\nShift+Enter\nAlt+Enter", "", "Begin a new line in the message") in rows
    assert ("Ctrl+N", "/new\n/clear", "Forget this conversation and begin a new one") in rows


def test_commands_that_begin_alike_are_offered() -> None:
    assert list(matching("/c")) == ["/clear", "/copy"]
    assert list(matching("/quit")) == ["/quit"]
    assert matching("/x") == {}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/help", "help"),
        ("/HELP", "help"),
        ("/clear", "new"),
        ("/quit \n", "quit"),
        ("/bye", "quit"),
        ("/stop", "stop"),
    ],
)
def test_slash_commands(text: str, name: str) -> None:
    meant = understand(text)
    assert isinstance(meant, Command)
    assert meant.name == name


@pytest.mark.parametrize("text", ["hello", "/usr/bin/env is what?", "/etc/passwd", " /help", "a /help", "//", "1/2"])
def test_what_is_a_message(text: str) -> None:
    assert understand(text) is None


@pytest.mark.parametrize(
    ("text", "hint"), [("/hepl", "No command /hepl"), ("/", "No command /:"), ("/help me", "/help takes nothing")]
)
def test_a_mistyped_command_is_not_sent_to_the_model(text: str, hint: str) -> None:
    meant = understand(text)
    assert isinstance(meant, str)
    assert hint in meant
