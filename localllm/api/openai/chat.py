"""POST /v1/chat/completions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from localllm.api.answers import Events, begin, collect
from localllm.api.body import read_body
from localllm.api.errors import encode_error, error_body
from localllm.api.openai.chat_body import chat_request, parse_chat
from localllm.api.openai.models import default_model
from localllm.api.openai.replies import AssistantMessage, ChatChoice, ChatCompletion, Heading, UsageObject
from localllm.api.sse import DONE, EventStream, event
from localllm.errors import LocalLLMError
from localllm.service import ChatService
from localllm.types import Finished, TextDelta

encode = msgspec.json.encode


class ChatCompletions:
    """The endpoint."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def __call__(self, request: Request) -> Response | EventStream:
        """Answer, streaming or whole."""
        body = parse_chat(await read_body(request))
        heading = Heading.new("chatcmpl", body.model or await default_model(self._service))
        events = self._service.chat(chat_request(body))
        if body.stream:
            include_usage = body.stream_options is not None and body.stream_options.include_usage
            begun = await begin(events, request.receive)
            return EventStream(chat_chunks(begun, heading, include_usage=include_usage))
        answer = await collect(events, request.receive)
        completion = ChatCompletion(
            id=heading.id,
            created=heading.created,
            model=heading.model,
            choices=[ChatChoice(AssistantMessage(answer.text), answer.end.reason)],
            usage=UsageObject.of(answer.end.usage),
        )
        return Response(encode(completion), media_type="application/json")


async def chat_chunks(events: Events, heading: Heading, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """The stream: role first, one id, a chunk with the finish reason, usage when asked for, [DONE].

    An error after the beginning is an event with `error`, and the stream ends without [DONE].
    """
    chunk = _ChunkWriter(heading, include_usage=include_usage)
    yield chunk.delta(b'{"role":"assistant","content":""}')
    try:
        async with aclosing(events):
            async for item in events:
                if isinstance(item, TextDelta):
                    yield chunk.delta(b'{"content":' + encode(item.text) + b"}")
                elif isinstance(item, Finished):
                    yield chunk.delta(b"{}", finish=encode(item.reason))
                    yield (chunk.usage(UsageObject.of(item.usage)) if include_usage else b"") + DONE
    except LocalLLMError as error:
        yield event(encode_error(error_body(error)))


class _ChunkWriter:
    """Chunks around an encoded delta; what all of them repeat is encoded once."""

    def __init__(self, heading: Heading, *, include_usage: bool) -> None:
        head = encode({"id": heading.id, "object": "chat.completion.chunk", "created": heading.created})
        self._head = b"data: " + head[:-1] + b',"model":' + encode(heading.model)
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"

    def delta(self, delta: bytes, finish: bytes = b"null") -> bytes:
        """A chunk with one choice."""
        choice = b',"choices":[{"index":0,"delta":' + delta + b',"logprobs":null,"finish_reason":' + finish + b"}]"
        return self._head + choice + self._tail

    def usage(self, usage: UsageObject) -> bytes:
        """The chunk without choices."""
        return self._head + b',"choices":[],"usage":' + encode(usage) + b"}\n\n"
