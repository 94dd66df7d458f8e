"""The prompt: where the user types. What is typed is never lost."""

from collections.abc import Callable

from textual import events, on
from textual.actions import SkipAction
from textual.binding import Binding
from textual.content import Content
from textual.widgets import TextArea

from localllm.tui.commands import PROMPT_KEYS, Command, matching
from localllm.tui.recall import Recall
from localllm.tui.text import clean

PLACEHOLDER = "Ask anything, or /help"

_EDITING: dict[str, list[str]] = {}  # actions of the text area by key
for _binding in Binding.make_bindings(TextArea.BINDINGS):
    _EDITING.setdefault(_binding.key, []).append(_binding.action)


class Prompt(TextArea):
    """A text area that sends on Enter. `send` says whether it took the text; only then is it cleared."""

    def __init__(self, send: Callable[[str], bool]) -> None:
        super().__init__(placeholder=PLACEHOLDER)
        # A call and no message: keys that come while a message travels would be cleared with what was sent.
        self._send = send
        self._recall = Recall()
        self._hint = ""

    def hint(self, text: str) -> None:
        """Say something on the lower border; it goes when the user types on."""
        self._hint = text
        self.border_subtitle = Content(text)

    def unhint(self, text: str) -> None:
        """Take back a hint that no longer holds, unless another stands there by now."""
        if self._hint == text:
            self.hint("")

    async def on_key(self, event: events.Key) -> None:
        """Keys of the table, and those that edit, in the order typed.

        Not by bindings: those with priority overtake characters typed just before, and the others come after
        characters typed just after, so that Enter would send what Backspace was about to take away.
        """
        command = PROMPT_KEYS.get(event.key)
        actions = [command.action] if command else []
        for action in (*actions, *_EDITING.get(event.key, ())):
            if await self.app.run_action(action, self):
                event.prevent_default()
                event.stop()
                return

    def action_send(self) -> None:
        """Hand the text over."""
        text = self.text
        if not text.strip():
            return
        self.hint("")
        if self._send(text):
            self._recall.add(text)
            self.clear()

    def action_newline(self) -> None:
        """Break the line."""
        self.replace("\n", *self.selection)

    def action_recall(self, step: int) -> None:
        """Bring back an earlier or later message, where the cursor cannot go further anyway."""
        is_at_edge = self.navigator.is_first_wrapped_line if step < 0 else self.navigator.is_last_wrapped_line
        text = self._recall.move(step, self.text) if is_at_edge(self.cursor_location) else None
        if text is None:
            raise SkipAction
        self.replace(text, self.document.start, self.document.end)
        self.move_cursor(self.document.end)

    def action_complete(self) -> None:
        """Take the suggestion."""
        if not self.suggestion:
            raise SkipAction
        self.insert(self.suggestion)

    def update_suggestion(self) -> None:
        """Suggest the rest of a slash command."""
        slash = next(iter(self._matches), "")
        self.suggestion = slash[len(self.text) :]

    @on(TextArea.Changed)
    def _say_commands(self) -> None:
        commands = {command.name: slash for slash, command in reversed(self._matches.items())}
        if commands:
            self.hint("  ".join(reversed(commands.values())))
        elif self.text:  # else it was just sent, and a hint is the answer to that
            self.hint("")

    @property
    def _matches(self) -> dict[str, Command]:
        return matching(self.text) if self.text.startswith("/") else {}

    def on_paste(self, event: events.Paste) -> None:
        """Paste what is safe to show: text copied from a terminal may carry escape sequences."""
        event.prevent_default()
        event.stop()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")  # terminals send line ends as the Enter key's
        result = self.replace(clean(text), *self.selection, maintain_selection_offset=False)
        self.move_cursor(result.end_location)
