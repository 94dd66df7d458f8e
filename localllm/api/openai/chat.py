"""POST /v1/chat/completions."""

from collections.abc import Iterable
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from localllm.api.answers import WholeChoice
from localllm.api.body import read_body
from localllm.api.guard import client_of
from localllm.api.openai.answering import respond
from localllm.api.openai.chat_body import ChatBody, chat_request, parse_chat
from localllm.api.openai.logprobs import ChatLogprobs
from localllm.api.openai.models import default_model
from localllm.api.openai.replies import AssistantMessage, ChatChoice, ChatCompletion, Heading, UsageObject
from localllm.api.sse import EventStream
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
        client = client_of(request)
        model = body.model or await default_model(self._service)
        heading = Heading.new("chatcmpl", model, body.tier(client))
        events = self._service.chat(chat_request(body, client))
        return await respond(request, body, events, _ChunkWriter(heading, body), partial(_completion, heading, body))


class _ChunkWriter:
    """Chunks around an encoded delta; what all of them repeat is encoded once."""

    def __init__(self, heading: Heading, body: ChatBody) -> None:
        head = {"id": heading.id, "object": "chat.completion.chunk", "created": heading.created, "model": heading.model}
        if heading.service_tier:
            head["service_tier"] = heading.service_tier
        self._head = b"data: " + encode(head)[:-1]
        self._tail = b',"usage":null}\n\n' if body.wants_usage else b"}\n\n"
        self._choices = body.n

    def opening(self) -> Iterable[bytes]:
        """The roles."""
        return [self._chunk(choice, b'{"role":"assistant","content":""}') for choice in range(self._choices)]

    def delta(self, item: TextDelta) -> bytes:
        """More text, with the log probabilities of its tokens."""
        logprobs = encode(ChatLogprobs.of(item.logprobs)) if item.logprobs else b"null"
        return self._chunk(item.choice, b'{"content":' + encode(item.text) + b"}", logprobs=logprobs)

    def end(self, item: Finished) -> bytes:
        """The finish reason."""
        return self._chunk(item.choice, b"{}", finish=encode(item.reason))

    def usage(self, usage: UsageObject) -> bytes:
        """The chunk without choices."""
        return self._head + b',"choices":[],"usage":' + encode(usage) + b"}\n\n"

    def _chunk(self, choice: int, delta: bytes, *, logprobs: bytes = b"null", finish: bytes = b"null") -> bytes:
        start = b',"choices":[{"index":%d,"delta":' % choice
        end = b',"logprobs":' + logprobs + b',"finish_reason":' + finish + b"}]"
        return self._head + start + delta + end + self._tail


def _completion(heading: Heading, body: ChatBody, answer: list[WholeChoice]) -> ChatCompletion:
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
