"""POST /v1/completions, the older text endpoint."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from msgspec import UnsetType
from starlette.requests import Request
from starlette.responses import Response

from localllm.api.answers import Events, WholeChoice, begin, collect
from localllm.api.body import read_body
from localllm.api.errors import encode_error, error_body
from localllm.api.guard import client_of
from localllm.api.openai.completion_body import CompletionBody, parse_completion, text_request
from localllm.api.openai.logprobs import TextOffsets
from localllm.api.openai.models import default_model
from localllm.api.openai.replies import Heading, TextChoice, TextCompletion, UsageObject
from localllm.api.sse import DONE, EventStream, comment, event
from localllm.errors import LocalLLMError
from localllm.service import ChatService
from localllm.types import Finished, Queued, TextDelta, Usage

encode = msgspec.json.encode


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
        if body.stream:
            begun = await begin(events, request.receive)
            return EventStream(completion_chunks(begun, heading, choices=body.n, include_usage=body.wants_usage))
        answer = await collect(events, body.n, request.receive)
        return Response(encode(_whole(answer, heading, body)), media_type="application/json")


async def completion_chunks(
    events: Events, heading: Heading, *, choices: int, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The stream: text, for each choice a chunk with its finish reason, usage when asked for, [DONE]; comments and
    errors as in chat."""
    offsets = [TextOffsets() for _ in range(choices)]
    costs: dict[int, Usage] = {}
    try:
        async with aclosing(events):
            async for item in events:
                if isinstance(item, Queued):
                    yield comment(f"queue position {item.position}")
                elif isinstance(item, TextDelta):
                    logprobs = offsets[item.choice].logprobs(item.logprobs) if item.logprobs else None
                    yield _chunk(heading, [TextChoice(item.text, None, item.choice, logprobs)])
                elif isinstance(item, Finished):
                    costs[item.choice] = item.usage
                    yield _chunk(heading, [TextChoice("", item.reason, item.choice)])
        if include_usage:
            yield _chunk(heading, [], UsageObject.of([costs[choice] for choice in range(choices)]))
        yield DONE
    except LocalLLMError as error:
        yield event(encode_error(error_body(error)))


def _whole(answer: list[WholeChoice], heading: Heading, body: CompletionBody) -> TextCompletion:
    choices = []
    for index, choice in enumerate(answer):
        logprobs = None if isinstance(body.logprobs, UnsetType) else TextOffsets().logprobs(choice.logprobs)
        choices.append(TextChoice(choice.text, choice.end.reason, index, logprobs))
    return _completion(heading, choices, UsageObject.of([choice.end.usage for choice in answer]))


def _chunk(heading: Heading, choices: Sequence[TextChoice], usage: UsageObject | None = None) -> bytes:
    return event(encode(_completion(heading, choices, usage)))


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
