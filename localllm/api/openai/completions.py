"""POST /v1/completions, the older text endpoint."""

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec
from msgspec import UnsetType
from starlette.requests import Request
from starlette.responses import Response

from localllm.api.answers import WholeChoice
from localllm.api.body import read_body
from localllm.api.guard import client_of
from localllm.api.openai.answering import respond
from localllm.api.openai.completion_body import CompletionBody, parse_completion, text_request
from localllm.api.openai.logprobs import TextOffsets
from localllm.api.openai.models import default_model
from localllm.api.openai.replies import Heading, TextChoice, TextCompletion, UsageObject
from localllm.api.sse import EventStream, event
from localllm.service import ChatService
from localllm.types import Finished, TextDelta


class Completions:
    """The endpoint."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def __call__(self, request: Request) -> Response | EventStream:
        """Answer, streaming or whole."""
        body = parse_completion(await read_body(request))
        client = client_of(request)
        model = body.model or await default_model(self._service)
        heading = Heading.new("cmpl", model, body.tier(client))
        events = self._service.complete(text_request(body, client))
        return await respond(request, body, events, _ChunkWriter(heading, body.n), partial(_whole, heading, body))


class _ChunkWriter:
    """Chunks that look like whole completions; the offsets of log probabilities go on from chunk to chunk."""

    def __init__(self, heading: Heading, choices: int) -> None:
        self._heading = heading
        self._offsets = [TextOffsets() for _ in range(choices)]

    def opening(self) -> Iterable[bytes]:
        """Nothing."""
        return ()

    def delta(self, item: TextDelta) -> bytes:
        """More text, with the log probabilities of its tokens."""
        logprobs = self._offsets[item.choice].logprobs(item.logprobs) if item.logprobs else None
        return self._chunk([TextChoice(item.text, None, item.choice, logprobs)])

    def end(self, item: Finished) -> bytes:
        """The finish reason."""
        return self._chunk([TextChoice("", item.reason, item.choice)])

    def usage(self, usage: UsageObject) -> bytes:
        """The chunk without choices."""
        return self._chunk([], usage)

    def _chunk(self, choices: Sequence[TextChoice], usage: UsageObject | None = None) -> bytes:
        return event(msgspec.json.encode(_completion(self._heading, choices, usage)))


def _whole(heading: Heading, body: CompletionBody, answer: list[WholeChoice]) -> TextCompletion:
    choices = []
    for index, choice in enumerate(answer):
        logprobs = None if isinstance(body.logprobs, UnsetType) else TextOffsets().logprobs(choice.logprobs)
        choices.append(TextChoice(choice.text, choice.end.reason, index, logprobs))
    return _completion(heading, choices, UsageObject.of([choice.end.usage for choice in answer]))


def _completion(heading: Heading, choices: Sequence[TextChoice], usage: UsageObject | None) -> TextCompletion:
    return TextCompletion(
        id=heading.id,
        object="text_completion",
        created=heading.created,
        model=heading.model,
        choices=list(choices),
        usage=usage,
        service_tier=heading.service_tier,
    )
