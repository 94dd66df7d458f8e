"""The conversation as the model sees it: a system prompt, questions, and what was answered."""

from dataclasses import dataclass, field

from localllm.types import ChatRequest, Message


@dataclass(slots=True, eq=False)
class Exchange:
    """A question and its answer so far."""

    question: str
    answer: str = ""


@dataclass(slots=True)
class Conversation:
    """Exchanges, oldest first. One that has no answer, not even part of one, is left out of later requests.

    Two questions in a row would break the templates of models that insist on alternating roles, and a question
    too long for the context would spoil every later one.
    """

    system: str = ""
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def last(self) -> Exchange | None:
        """The latest exchange."""
        return self.exchanges[-1] if self.exchanges else None

    @property
    def last_answer(self) -> str:
        """The latest answer that has text."""
        return next((exchange.answer for exchange in reversed(self.exchanges) if exchange.answer), "")

    def ask(self, question: str) -> Exchange:
        """Begin an exchange."""
        self.exchanges.append(Exchange(question))
        return self.exchanges[-1]

    def ask_again(self) -> Exchange:
        """Begin the last exchange anew, in place of what it had; there must be one."""
        return self.ask(self.exchanges.pop().question)

    def request(self) -> ChatRequest:
        """What to send for the last question."""
        *earlier, last = self.exchanges
        messages = [Message("system", self.system)] if self.system else []
        for exchange in earlier:
            if exchange.answer.strip():
                messages += [Message("user", exchange.question), Message("assistant", exchange.answer)]
        return ChatRequest(messages=(*messages, Message("user", last.question)))
