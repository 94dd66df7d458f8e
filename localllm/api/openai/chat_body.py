"""The body of POST /v1/chat/completions, and its translation into a ChatRequest."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from localllm.api.body import decode_body
from localllm.api.openai.fields import IGNORED, REFUSED_CHAT
from localllm.api.openai.prompted import PromptedFields, TopLogprobs
from localllm.api.openai.sampling import TokenCount
from localllm.errors import InvalidRequest
from localllm.types import ChatRequest, Client, Message, Role

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


class ChatBody(PromptedFields, kw_only=True):
    """The fields that are honoured."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: TokenCount | UnsetType = UNSET
    logprobs: bool = False
    top_logprobs: TopLogprobs = 0


def parse_chat(data: bytes) -> ChatBody:
    """The body. Raises InvalidRequest or UnsupportedField, naming the field."""
    body = decode_body(data, ChatBody, ignored=IGNORED, refused=REFUSED_CHAT)
    body.check()
    if UNSET not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise InvalidRequest("max_tokens and max_completion_tokens say different things; send one", param="max_tokens")
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("top_logprobs: only with logprobs: true", param="top_logprobs")
    return body


def chat_request(body: ChatBody, client: Client) -> ChatRequest:
    """What the service is asked, for this client. Raises InvalidRequest."""
    sampling = body.choice()
    if body.max_completion_tokens is not UNSET:
        sampling = msgspec.structs.replace(sampling, max_tokens=body.max_completion_tokens)
    if body.logprobs:
        sampling = msgspec.structs.replace(sampling, logprobs=body.top_logprobs)
    return ChatRequest(
        messages=tuple(_message(message) for message in body.messages),
        model=body.model,
        sampling=sampling,
        choices=body.n,
        constraint=body.constraint,
        adapters=body.adapters,
        client=body.ranked(client),
    )


def _message(message: ChatMessage) -> Message:
    content = message.content
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    role: Role = "system" if message.role == "developer" else message.role
    return Message(role=role, content=text, name=message.name)
