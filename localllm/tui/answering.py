"""Gets one answer from the service and shows it as it comes."""

from contextlib import aclosing

from localllm.errors import ContextOverflow, LocalLLMError
from localllm.service import ChatService
from localllm.tui.conversation import Exchange
from localllm.tui.status import StatusLine
from localllm.tui.turn import Answer
from localllm.types import ChatRequest, Event, Finished, TextDelta

STOPPED = "Stopped."
STOPPED_EMPTY = "Stopped before the first word; the model will not see this question again."
STOPPED_KEPT = "Stopped before the first word; the answer above stands."
EMPTY = "The model ended its answer without a word."
LIMIT_REACHED = "Cut here: the answer reached its longest allowed length."
UNFINISHED = "The answer broke off without a reason."
RETRY = "Ctrl+R tries again."
NEW_CHAT = "/clear starts a new chat."


class Answering:
    """One answer on its way. Cancel the task that runs `run` to stop it, then say so with `stop`."""

    def __init__(self, service: ChatService, exchange: Exchange, view: Answer, status: StatusLine) -> None:
        self._service = service
        self._exchange = exchange
        self._view = view
        self._status = status
        self._is_finished = False

    async def run(self, request: ChatRequest) -> None:
        """Ask, and show all that comes of it, errors in words included."""
        try:
            await self._ask(request)
        except Exception as error:  # any: not even a fault of ours may take the terminal, and the draft with it
            self._view.fail(in_words(error))

    def stop(self) -> None:
        """Say that the user stopped the answer."""
        if self._exchange.answer:
            self._view.end(STOPPED)
        else:
            self._view.end(STOPPED_KEPT if self._exchange.standing_answer else STOPPED_EMPTY)

    async def _ask(self, request: ChatRequest) -> None:
        try:
            await load(self._service, self._status)
            async with aclosing(self._service.chat(request)) as events:
                async for event in events:
                    self._take(event)
            if not self._is_finished:
                self._view.fail(f"{UNFINISHED} {RETRY}")
        finally:
            await self._view.finish()

    def _take(self, event: Event) -> None:
        self._status.take(event)
        if isinstance(event, TextDelta):
            self._exchange.answer += event.text
            self._view.write(event.text)
        elif isinstance(event, Finished):
            self._is_finished = True
            self._view.end(self._ending(event))

    def _ending(self, event: Finished) -> str:
        if event.reason == "stop":
            return "" if self._exchange.answer.strip() else EMPTY
        context, usage = self._status.context_tokens, event.usage
        if context and usage.prompt_tokens + usage.completion_tokens >= context - 1:
            return f"Cut here: the context of {context} tokens is full. {NEW_CHAT}"
        return LIMIT_REACHED


async def load(service: ChatService, status: StatusLine) -> None:
    """Load the default model, or wait until it is loaded, and show how far it is. Raises LocalLLMError."""
    status.show_model((await service.models())[0])
    status.show_activity("waiting for the model")
    async with aclosing(service.load()) as steps:
        async for step in steps:
            status.show_activity(f"loading {step.fraction:.0%}")
    status.show_model((await service.models())[0])
    status.show_activity("")


def in_words(error: Exception) -> str:
    """What went wrong, and what to do."""
    if not isinstance(error, LocalLLMError):
        return f"Unexpected, please report it: {error!r}. {RETRY}"
    message = error.message[:1].upper() + error.message[1:]
    end = "" if message.endswith((".", "!", "?")) else "."
    advice = f"Or {NEW_CHAT}" if isinstance(error, ContextOverflow) else RETRY
    return f"{message}{end} {advice}"
