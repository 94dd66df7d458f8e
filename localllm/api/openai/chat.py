"""POST /v1/chat/completions."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from localllm.api.answers import Events, WholeChoice, begin, collect
from localllm.api.body import read_body
from localllm.api.errors import encode_error, error_body
from localllm.api.guard import client_of
from localllm.api.openai.chat_body import ChatBody, chat_request, parse_chat
from localllm.api.openai.logprobs import ChatLogprobs
from localllm.api.openai.models import default_model
from localllm.api.openai.replies import AssistantMessage, ChatChoice, ChatCompletion, Heading, UsageObject
from localllm.api.sse import DONE, EventStream, comment, event
from localllm.errors import LocalLLMError
from localllm.service import ChatService
from localllm.types import Finished, Queued, TextDelta, TokenLogprob, Usage

encode = msgspec.json.encode


class ChatCompletions:
    """The endpoint."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def __call__(self, request: Request) -> Response | EventStream:
        """Answer, streaming or whole."""
        body = parse_chat(await read_body(request))
        client = client_of(request)
        model = body.model or await default_model(self._service)
        heading = Heading.new("chatcmpl", model, body.tier(client))
        events = self._service.chat(chat_request(body, client))
        if body.stream:
            begun = await begin(events, request.receive)
            return EventStream(chat_chunks(begun, heading, choices=body.n, include_usage=body.wants_usage))
        answer = await collect(events, body.n, request.receive)
        return Response(encode(_completion(answer, heading, body)), media_type="application/json")


async def chat_chunks(
    events: Events, heading: Heading, *, choices: int, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The stream: the roles first, one id, for each choice a chunk with its finish reason, usage when asked for,
    [DONE]. Comments say how many wait before.

    An error after the beginning is an event with `error`, and the stream ends without [DONE].
    """
    chunk = _ChunkWriter(heading, include_usage=include_usage)
    for choice in range(choices):
        yield chunk.delta(choice, b'{"role":"assistant","content":""}')
    costs: dict[int, Usage] = {}
    try:
        async with aclosing(events):
            async for item in events:
                if isinstance(item, Queued):
                    yield comment(f"queue position {item.position}")
                elif isinstance(item, TextDelta):
                    yield chunk.delta(item.choice, b'{"content":' + encode(item.text) + b"}", item.logprobs)
                elif isinstance(item, Finished):
                    costs[item.choice] = item.usage
                    yield chunk.delta(item.choice, b"{}", finish=encode(item.reason))
        usage = UsageObject.of([costs[choice] for choice in range(choices)])
        yield (chunk.usage(usage) if include_usage else b"") + DONE
    except LocalLLMError as error:
        yield event(encode_error(error_body(error)))


class _ChunkWriter:
    """Chunks around an encoded delta; what all of them repeat is encoded once."""

    def __init__(self, heading: Heading, *, include_usage: bool) -> None:
        head = {"id": heading.id, "object": "chat.completion.chunk", "created": heading.created, "model": heading.model}
        if heading.service_tier:
            head["service_tier"] = heading.service_tier
        self._head = b"data: " + encode(head)[:-1]
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"

    def delta(
        self, choice: int, delta: bytes, logprobs: Sequence[TokenLogprob] = (), *, finish: bytes = b"null"
    ) -> bytes:
        """A chunk with one choice."""
        told = encode(ChatLogprobs.of(logprobs)) if logprobs else b"null"
        start = b',"choices":[{"index":%d,"delta":' % choice
        return self._head + start + delta + b',"logprobs":' + told + b',"finish_reason":' + finish + b"}]" + self._tail

    def usage(self, usage: UsageObject) -> bytes:
        """The chunk without choices."""
        return self._head + b',"choices":[],"usage":' + encode(usage) + b"}\n\n"


def _completion(answer: list[WholeChoice], heading: Heading, body: ChatBody) -> ChatCompletion:
    return ChatCompletion(
        id=heading.id,
        created=heading.created,
        model=heading.model,
        service_tier=heading.service_tier,
        choices=[
            ChatChoice(
                AssistantMessage(choice.text),
                choice.end.reason,
                index,
                ChatLogprobs.of(choice.logprobs) if body.logprobs else None,
            )
            for index, choice in enumerate(answer)
        ],
        usage=UsageObject.of([choice.end.usage for choice in answer]),
    )
