"""The chat: transcript, prompt and status line, and the one answer that may be running."""

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import AwaitMount
from textual.widgets import Footer

from localllm.service import ChatService
from localllm.tui import clipboard
from localllm.tui.answering import Answering, in_words, load
from localllm.tui.commands import Command, bindings, understand
from localllm.tui.conversation import Conversation, Exchange
from localllm.tui.help_screen import HelpScreen
from localllm.tui.placement import placement_words
from localllm.tui.prompt import Prompt
from localllm.tui.status import StatusLine
from localllm.tui.text import clean
from localllm.tui.transcript import Transcript
from localllm.tui.turn import Turn
from localllm.types import ChatRequest

BUSY = "Still answering. Esc stops it; your draft stays."
ANSWER = "answer"  # group of the worker that answers


class ChatScreen(Screen[None]):
    """One conversation with the service's default model."""

    BINDINGS = bindings()
    AUTO_FOCUS = "Prompt"

    def __init__(self, service: ChatService, system: str) -> None:
        super().__init__()
        self._service = service
        self._conversation = Conversation(system)
        self._transcript = Transcript()
        self._prompt = Prompt(self._send)
        self._status = StatusLine()
        self._turn: Turn | None = None  # the latest
        self._answering: Answering | None = None
        self._is_load_failed = False

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield self._transcript
        yield self._prompt
        yield self._status
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Load the model behind the first paint."""
        self.run_worker(self._load())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done now; the footer shows no other."""
        match action:
            case "stop":
                return self._answering is not None
            case "retry":
                return self._answering is None and (self._turn is not None or self._is_load_failed)
            case "copy_answer":
                return bool(self._conversation.last_answer)
            case "explain":
                return self._status.context_tokens > 0
        return super().check_action(action, parameters)

    async def run_command(self, command: Command) -> None:
        """Do what the command says, or say why not."""
        if self.check_action(command.action, ()):
            await self.run_action(command.action)
        else:
            self._prompt.hint(command.refusal)

    def action_stop(self) -> None:
        """Stop the answer; its text stays."""
        if self._answering is not None:
            self.workers.cancel_group(self, ANSWER)
            self._answering.stop()
            self._release(self._answering)

    def action_retry(self) -> None:
        """Ask the last question again, or load again."""
        if self._turn is None:
            self.run_worker(self._load())
        else:
            self._transcript.follow()
            mounted = self._turn.add_answer()
            self._begin(self._conversation.ask_again(), self._turn, mounted)

    def action_new_chat(self) -> None:
        """Forget the conversation."""
        self.action_stop()
        self._conversation = Conversation(self._conversation.system)
        self._turn = None
        self._transcript.clear()
        self._status.forget()
        self.refresh_bindings()

    def action_copy_answer(self) -> None:
        """Copy the last answer."""
        self.run_worker(self._copy(clean(self._conversation.last_answer)))

    def action_explain(self) -> None:
        """Say where the model runs, and why."""
        if self._status.model is not None:
            self._transcript.tell(placement_words(self._status.model))
            self._transcript.follow()

    def action_scroll_page(self, step: int) -> None:
        """Scroll the transcript by pages."""
        self._transcript.scroll_relative(y=step * self._transcript.size.height, animate=False)

    def action_scroll_to_end(self) -> None:
        """Follow the newest text again."""
        self._transcript.follow()

    def action_help(self) -> None:
        """Show the help."""
        self.app.push_screen(HelpScreen())

    def _send(self, text: str) -> bool:
        """Take what the user typed; False: it stays in the prompt, and a hint says why."""
        meant = understand(text)
        if isinstance(meant, Command):
            self.run_worker(self.run_command(meant))
        elif isinstance(meant, str):
            self._prompt.hint(meant)
            return False
        elif self._answering is not None:
            self._prompt.hint(BUSY)
            return False
        else:
            self._turn = Turn(text)
            self._begin(self._conversation.ask(text), self._turn, self._transcript.add(self._turn))
        return True

    def _begin(self, exchange: Exchange, turn: Turn, mounted: AwaitMount) -> None:
        self._transcript.forgive()
        self._answering = Answering(self._service, exchange, turn.answer, self._status)
        self.run_worker(self._answer(self._answering, self._conversation.request(), mounted), group=ANSWER)
        self.refresh_bindings()

    async def _answer(self, answering: Answering, request: ChatRequest, mounted: AwaitMount) -> None:
        try:
            await mounted
            await answering.run(request)
        finally:
            self._release(answering)

    def _release(self, answering: Answering) -> None:
        if self._answering is answering:  # else it was stopped, and another may be running by now
            self._answering = None
            self._status.show_activity("")
            self._prompt.unhint(BUSY)
            self.refresh_bindings()

    async def _load(self) -> None:
        self._is_load_failed = False
        self._transcript.forgive()
        try:
            await load(self._service, self._status)
            self._transcript.tell(self._status.model.fallbacks if self._status.model else ())
        except Exception as error:  # any: the terminal stays, and says what is wrong
            self._is_load_failed = True
            self._status.show_activity("")
            if self._answering is None:  # else the answer that waits for the model says it
                self._transcript.complain(in_words(error))
        self.refresh_bindings()

    async def _copy(self, text: str) -> None:
        taker = await clipboard.copy(text, self.app.copy_to_clipboard)
        self._prompt.hint(f"Copied by {taker}.")
