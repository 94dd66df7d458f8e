"""The table of what a user can do; bindings, footer, slash commands, palette and help all come from it."""

import re
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding, BindingType

Place = Literal["prompt", "screen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One thing to do: keys and slash commands that run an action of the chat screen, or of the prompt."""

    name: str
    title: str
    help: str
    action: str
    keys: str = ""  # the first one is shown
    slashes: tuple[str, ...] = ()  # what to type in the prompt
    place: Place = "screen"  # those of the prompt make sense only while typing
    is_in_footer: bool = False
    refusal: str = ""  # said when it cannot be done now

    @property
    def key_list(self) -> list[str]:
        """Keys as Textual writes them."""
        return self.keys.split(",") if self.keys else []

    @property
    def shown_keys(self) -> tuple[str, ...]:
        """Keys as people write them."""
        return tuple("+".join(_KEY_NAMES.get(part, part.title()) for part in key.split("+")) for key in self.key_list)

    @property
    def binding(self) -> Binding:
        """For Textual. Priority: the text area has keys of its own for some of these."""
        shown = self.shown_keys[0].replace("Ctrl+", "^")
        show, priority = self.is_in_footer, "ctrl+c" not in self.key_list
        return Binding(self.keys, self.action, self.title, show, shown, priority, self.help, id=self.name)


_KEY_NAMES = {"escape": "Esc", "pageup": "PgUp", "pagedown": "PgDn"}

COMMANDS: tuple[Command, ...] = (
    Command(name="send", title="Send", help="Send the message", action="send", keys="enter", place="prompt"),
    Command(
        name="newline",
        title="New line",
        help="Begin a new line in the message",
        action="newline",
        keys="ctrl+j,shift+enter,alt+enter",  # most terminals send the same for Shift+Enter as for Enter
        place="prompt",
    ),
    Command(
        name="older",
        title="Earlier message",
        help="Bring back an earlier message, from the first line",
        action="recall(-1)",
        keys="up",
        place="prompt",
    ),
    Command(
        name="newer",
        title="Later message",
        help="Go back towards the draft, from the last line",
        action="recall(1)",
        keys="down",
        place="prompt",
    ),
    Command(
        name="complete",
        title="Complete",
        help="Complete a command that begins with /",
        action="complete",
        keys="tab",
        place="prompt",
    ),
    Command(
        name="stop",
        title="Stop",
        help="Stop the answer; what has come stays, and so does your draft",
        action="stop",
        keys="escape,ctrl+c",
        slashes=("/stop",),
        is_in_footer=True,
        refusal="No answer is running.",
    ),
    Command(
        name="retry",
        title="Retry",
        help="Ask the last question again; after a failed load, load again",
        action="retry",
        keys="ctrl+r",
        slashes=("/retry",),
        is_in_footer=True,
        refusal="There is nothing to retry now.",
    ),
    Command(
        name="new",
        title="New chat",
        help="Forget this conversation and begin a new one",
        action="new_chat",
        keys="ctrl+n",
        slashes=("/new", "/clear"),
        is_in_footer=True,
    ),
    Command(
        name="copy",
        title="Copy",
        help="Copy the last answer to the clipboard, as Markdown",
        action="copy_answer",
        keys="ctrl+y",
        slashes=("/copy",),
        is_in_footer=True,
        refusal="There is no answer to copy yet.",
    ),
    Command(name="up", title="Scroll up", help="Scroll up a page", action="scroll_page(-1)", keys="pageup"),
    Command(name="down", title="Scroll down", help="Scroll down a page", action="scroll_page(1)", keys="pagedown"),
    Command(
        name="bottom",
        title="To the end",
        help="Scroll to the newest text and follow it",
        action="scroll_to_end",
        keys="ctrl+end",
    ),
    Command(
        name="help",
        title="Help",
        help="Show keys and commands",
        action="help",
        keys="f1",
        slashes=("/help",),
        is_in_footer=True,
    ),
    Command(
        name="why",
        title="Why so",
        help="Say where the model runs, why there, and what was given up to load it",
        action="explain",
        slashes=("/why",),
        refusal="The model is not loaded yet.",
    ),
    Command(name="theme", title="Theme", help="Choose colours", action="app.change_theme", slashes=("/theme",)),
    Command(
        name="palette",
        title="Palette",
        help="Find a command by name",
        action="app.command_palette",
        keys="ctrl+p",
    ),
    Command(
        name="quit",
        title="Quit",
        help="Leave; the model is unloaded",
        action="app.quit",
        keys="ctrl+q",
        slashes=("/quit", "/exit", "/bye"),
        is_in_footer=True,
    ),
)

PROMPT_KEYS = {key: command for command in COMMANDS if command.place == "prompt" for key in command.key_list}
BY_SLASH = {slash: command for command in COMMANDS for slash in command.slashes}


def bindings() -> list[BindingType]:
    """The key bindings of the chat screen."""
    return [command.binding for command in COMMANDS if command.place == "screen" and command.keys]


def matching(start: str) -> dict[str, Command]:
    """Slash commands that begin like this."""
    return {slash: command for slash, command in BY_SLASH.items() if slash.startswith(start)}


def understand(text: str) -> Command | str | None:
    """The command that a text is, or a hint if it is one that we do not know; None: it is a message."""
    word, _, rest = text.rstrip().partition(" ")
    if not re.fullmatch(r"/\w*", word):  # paths are messages
        return None
    command = BY_SLASH.get(word.lower())
    if command is None:
        return f"No command {word}: see /help. A leading space sends it."
    return f"{word} takes nothing after it." if rest else command


def help_rows() -> list[tuple[str, str, str]]:
    """Every command: its keys, what to type, and what it does."""
    return [("\n".join(command.shown_keys), "\n".join(command.slashes), command.help) for command in COMMANDS]
