"""The body of POST /v1/chat/completions, and its translation into a ChatRequest."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from localllm.api.body import decode_body
from localllm.api.openai.fields import IGNORED, REFUSED_CHAT
from localllm.api.openai.sampling import SamplingFields, StreamOptions, TokenCount
from localllm.errors import InvalidRequest
from localllm.types import ChatRequest, Message, Role

MAX_MESSAGES = 4096


class TextPart(Struct, frozen=True, tag="text", tag_field="type", forbid_unknown_fields=True):
    """A piece of a message."""

    text: str


class ChatMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """A message. A developer is what newer clients call the system."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    refusal: None = None  # clients send back what they got
    tool_calls: Annotated[list[str], Meta(max_length=0)] | None = None


class ChatBody(SamplingFields, kw_only=True):
    """The fields that are honoured."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: str | None = None
    max_completion_tokens: TokenCount | UnsetType = UNSET
    stream: bool = False
    stream_options: StreamOptions | None = None


def parse_chat(data: bytes) -> ChatBody:
    """The body. Raises InvalidRequest or UnsupportedField, naming the field."""
    body = decode_body(data, ChatBody, ignored=IGNORED, refused=REFUSED_CHAT)
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options: only with stream", param="stream_options")
    if UNSET not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise InvalidRequest("max_tokens and max_completion_tokens say different things; send one", param="max_tokens")
    return body


def chat_request(body: ChatBody) -> ChatRequest:
    """What the service is asked."""
    sampling = body.choice()
    if body.max_completion_tokens is not UNSET:
        sampling = msgspec.structs.replace(sampling, max_tokens=body.max_completion_tokens)
    messages = tuple(_message(message) for message in body.messages)
    return ChatRequest(messages=messages, model=body.model, sampling=sampling)


def _message(message: ChatMessage) -> Message:
    content = message.content
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    role: Role = "system" if message.role == "developer" else message.role
    return Message(role=role, content=text, name=message.name)
