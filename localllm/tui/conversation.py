"""The conversation as the model sees it: a system prompt, questions, and what was answered."""

from dataclasses import dataclass, field

from localllm.types import ChatRequest, Message


@dataclass(slots=True, eq=False)
class Exchange:
    """A question and its answer so far."""

    question: str
    answer: str = ""
    before: "Exchange | None" = None  # what a retry takes the place of

    @property
    def standing_answer(self) -> str:
        """What counts: a retry that was stopped before its first word takes no answer's place."""
        if self.answer.strip() or self.before is None:
            return self.answer
        return self.before.standing_answer


@dataclass(slots=True)
class Conversation:
    """Exchanges, oldest first. One that has no answer, not even part of one, is left out of later requests.

    Two questions in a row would break the templates of models that insist on alternating roles, and a question
    too long for the context would spoil every later one.
    """

    system: str = ""
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def last_answer(self) -> str:
        """The latest answer that has text."""
        answers = (exchange.standing_answer for exchange in reversed(self.exchanges))
        return next((answer for answer in answers if answer), "")

    def ask(self, question: str) -> Exchange:
        """Begin an exchange."""
        self.exchanges.append(Exchange(question))
        return self.exchanges[-1]

    def ask_again(self) -> Exchange:
        """Begin the last exchange anew, in place of what it had; there must be one."""
        before = self.exchanges.pop()
        self.exchanges.append(Exchange(before.question, before=before))
        return self.exchanges[-1]

    def request(self) -> ChatRequest:
        """What to send for the last question."""
        *earlier, last = self.exchanges
        messages = [Message("system", self.system)] if self.system else []
        for exchange in earlier:
            answer = exchange.standing_answer
            if answer.strip():
                messages += [Message("user", exchange.question), Message("assistant", answer)]
        return ChatRequest(messages=(*messages, Message("user", last.question)))
