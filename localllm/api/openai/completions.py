"""POST /v1/completions, the older text endpoint."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import msgspec
from msgspec import Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from localllm.api.answers import Events, begin, collect
from localllm.api.body import decode_body, read_body
from localllm.api.errors import encode_error, error_body
from localllm.api.openai.fields import IGNORED, REFUSED_COMPLETION
from localllm.api.openai.models import default_model
from localllm.api.openai.replies import Heading, TextChoice, TextCompletion, UsageObject
from localllm.api.openai.sampling import SamplingFields, StreamOptions
from localllm.api.sse import DONE, EventStream, event
from localllm.errors import InvalidRequest, LocalLLMError, UnsupportedField
from localllm.service import ChatService
from localllm.types import Finished, FinishReason, TextDelta, TextRequest

DEFAULT_MAX_TOKENS = 16  # OpenAI's own default for this endpoint

encode = msgspec.json.encode

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Prompt = str | list[str | TokenId | list[TokenId]]


class CompletionBody(SamplingFields, kw_only=True):
    """The fields that are honoured."""

    prompt: Prompt
    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None


class Completions:
    """The endpoint."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def __call__(self, request: Request) -> Response | EventStream:
        """Answer, streaming or whole."""
        body = parse_completion(await read_body(request))
        heading = Heading.new("cmpl", body.model or await default_model(self._service))
        events = self._service.complete(text_request(body))
        if body.stream:
            include_usage = body.stream_options is not None and body.stream_options.include_usage
            begun = await begin(events, request.receive)
            return EventStream(completion_chunks(begun, heading, include_usage=include_usage))
        answer = await collect(events, request.receive)
        whole = _completion(heading, answer.text, answer.end.reason, UsageObject.of(answer.end.usage))
        return Response(encode(whole), media_type="application/json")


def parse_completion(data: bytes) -> CompletionBody:
    """The body. Raises InvalidRequest or UnsupportedField, naming the field."""
    body = decode_body(data, CompletionBody, ignored=IGNORED, refused=REFUSED_COMPLETION)
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options: only with stream", param="stream_options")
    return body


def text_request(body: CompletionBody) -> TextRequest:
    """What the service is asked. Raises InvalidRequest or UnsupportedField."""
    sampling = body.choice()
    if isinstance(sampling.max_tokens, UnsetType):
        sampling = msgspec.structs.replace(sampling, max_tokens=DEFAULT_MAX_TOKENS)
    return TextRequest(prompt=_single(body.prompt), model=body.model, sampling=sampling)


async def completion_chunks(events: Events, heading: Heading, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """The stream: text, a chunk with the finish reason, usage when asked for, [DONE]; errors as in chat."""
    try:
        async with aclosing(events):
            async for item in events:
                if isinstance(item, TextDelta):
                    yield event(encode(_completion(heading, item.text, None)))
                elif isinstance(item, Finished):
                    yield event(encode(_completion(heading, "", item.reason)))
                    if include_usage:
                        last = _completion(heading, "", None, UsageObject.of(item.usage))
                        yield event(encode(msgspec.structs.replace(last, choices=[])))
                    yield DONE
    except LocalLLMError as error:
        yield event(encode_error(error_body(error)))


def _completion(
    heading: Heading, text: str, reason: FinishReason | None, usage: UsageObject | None = None
) -> TextCompletion:
    return TextCompletion(
        id=heading.id,
        object="text_completion",
        created=heading.created,
        model=heading.model,
        choices=[TextChoice(text, reason)],
        usage=usage,
    )


def _single(prompt: Prompt) -> str | tuple[int, ...]:
    """The one prompt in its four forms: text, [text], [token, …], [[token, …]]."""
    if isinstance(prompt, str):
        return prompt
    if all(isinstance(item, int) for item in prompt):
        return tuple(item for item in prompt if isinstance(item, int))
    if len(prompt) > 1:
        raise UnsupportedField("prompt: one prompt a request; send several requests", param="prompt")
    only = prompt[0]
    return only if isinstance(only, str) else tuple(only if isinstance(only, list) else [only])
