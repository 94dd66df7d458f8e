"""The scrolling list of turns; it follows the newest text until the user scrolls away."""

from collections.abc import Sequence

from textual.containers import VerticalScroll
from textual.widget import AwaitMount
from textual.widgets import Static

from localllm.tui.text import clean
from localllm.tui.turn import Turn

GREETING = "[b $primary]localllm[/]  Enter sends · Ctrl+J new line · F1 help"  # one line at 60 columns


class Transcript(VerticalScroll, can_focus=False):  # the prompt keeps the focus, so that typing is never lost
    """Turns, oldest first, after a greeting."""

    def on_mount(self) -> None:
        """Greet, and follow what is added."""
        self.greet()
        self.anchor()

    def greet(self) -> None:
        """Say what this is."""
        self.mount(Static(GREETING, classes="greeting"))

    def complain(self, message: str) -> None:
        """Show an error that belongs to no turn; it stands until `forgive`."""
        self.forgive()
        self.mount(Static(clean(message), markup=False, classes="note error complaint"))

    def forgive(self) -> None:
        """Take away what `complain` showed."""
        self.query(".complaint").remove()

    def tell(self, sentences: Sequence[str]) -> None:
        """Show what is worth knowing and belongs to no turn, in the place of what was told before."""
        self.query(".told").remove()
        if sentences:
            self.mount(Static(clean("\n".join(sentences)), markup=False, classes="note told"))

    def add(self, turn: Turn) -> AwaitMount:
        """Put a turn at the end, and scroll there even if the user was reading further up."""
        self.follow()
        return self.mount(turn)

    def follow(self) -> None:
        """Scroll to the newest text, and go with it."""
        self.scroll_end(animate=False)

    def release_anchor(self) -> None:
        """Stop following, unless this scrolls on at the end: no wish to leave it, but Textual lets go all the same."""
        super().release_anchor()
        self.call_after_refresh(self._stay_at_end)

    def _stay_at_end(self) -> None:
        if self.scroll_target_y >= self.max_scroll_y:
            self.anchor()

    def clear(self) -> None:
        """Forget every turn."""
        self.remove_children()
        self.greet()
