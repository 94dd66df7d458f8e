"""The help: every key and command."""

from typing import ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from localllm.tui.commands import help_rows


class HelpScreen(ModalScreen[None]):
    """Lies over the chat until a key closes it; an answer goes on below."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q,enter,ctrl+c", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        """The table, scrolling where it does not fit."""
        with VerticalScroll() as box:
            box.border_title = "Keys and commands"
            box.border_subtitle = "Esc closes"
            yield Static(_table())


def _table() -> Table:
    table = Table.grid(padding=(0, 2))
    for style in ("bold", "bold", ""):
        table.add_column(style=style, no_wrap=bool(style))
    for row in help_rows():
        table.add_row(*row)
    return table
