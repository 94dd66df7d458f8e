"""One turn on the screen: a question, and the answer or answers to it."""

from textual.app import ComposeResult
from textual.containers import VerticalGroup
from textual.widget import AwaitMount
from textual.widgets import Static

from localllm.tui.body import Body
from localllm.tui.stream import TextStream
from localllm.tui.text import clean

WAITING = "…"


class Turn(VerticalGroup):
    """A question, as it was typed, and its answer below it; a retry adds another."""

    def __init__(self, question: str) -> None:
        super().__init__()
        self.answer = Answer()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question and the first answer."""
        yield Static(clean(self._question).rstrip(), markup=False, classes="question")
        yield self.answer

    def add_answer(self) -> AwaitMount:
        """Begin another answer; the one before stays if it has text, marked as replaced."""
        if self.answer.has_text:
            self.answer.replace()
        else:
            self.answer.remove()
        self.answer = Answer()
        return self.mount(self.answer)


class Answer(VerticalGroup):
    """An answer as it comes, and a note on how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.has_text = False
        self._body = Body()
        self._note = Static(WAITING, markup=False, classes="note")
        self._stream = TextStream(self._body.append)

    def compose(self) -> ComposeResult:
        """The text and the note."""
        yield self._body
        yield self._note

    def write(self, text: str) -> None:
        """Show more of the answer."""
        if not self.has_text:
            self.has_text = True
            self._set_note("")
        self._stream.write(text)

    async def finish(self) -> None:
        """Show what is left; no more will be written."""
        await self._stream.close()
        await self._body.finish()

    def end(self, note: str = "") -> None:
        """Say how the answer ended."""
        self._set_note(note)

    def fail(self, message: str) -> None:
        """Say what went wrong."""
        self._note.add_class("error")
        self._set_note(message)

    def replace(self) -> None:
        """Mark the answer as one that a retry took the place of."""
        self.add_class("replaced")
        self._note.remove_class("error")
        self._set_note("Replaced by the answer below.")

    def _set_note(self, text: str) -> None:
        self._note.update(clean(text))
        self._note.display = bool(text)
