"""A line at the terminal while the question waits for its turn; it leaves no trace."""

import sys

from localllm.types import Event, Queued

CLEAR = "\r\x1b[2K"  # ECMA-48: erase the line


class WaitingLine:
    """Shows the queue on stderr, if that is a terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._is_shown = False

    def take(self, event: Event) -> None:
        """Show the place in the queue, or clear the line once anything else comes."""
        if not isinstance(event, Queued):
            self.clear()
        elif self._is_terminal:
            print(f"{CLEAR}{event.words}", end="", file=sys.stderr, flush=True)
            self._is_shown = True

    def clear(self) -> None:
        """Show nothing."""
        if self._is_shown:
            print(CLEAR, end="", file=sys.stderr, flush=True)
            self._is_shown = False
