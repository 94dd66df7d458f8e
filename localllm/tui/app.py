"""The terminal app: wires the service to the chat."""

from collections.abc import Iterable
from functools import partial

from textual.app import App, SystemCommand
from textual.screen import Screen

from localllm.service import ChatService
from localllm.tui.chat_screen import ChatScreen
from localllm.tui.commands import COMMANDS


class ChatApp(App[None]):
    """A chat with the service's default model. Closes the service when it ends."""

    TITLE = "localllm"
    CSS_PATH = "chat.tcss"

    def __init__(self, service: ChatService, *, system: str = "") -> None:
        super().__init__()
        self._service = service
        self._chat = ChatScreen(service, system)

    def get_default_screen(self) -> Screen[None]:
        """The chat."""
        return self._chat

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:  # noqa: ARG002
        """The palette: what is in the table."""
        for command in COMMANDS:
            if command.place == "screen" and command.action != "app.command_palette":
                yield SystemCommand(command.title, command.help, partial(self._chat.run_command, command))

    async def on_unmount(self) -> None:
        """Free the model; the terminal is the user's again by now."""
        await self._service.close()
