"""The objects that answers are made of (OpenAI API reference)."""

import secrets
import time
from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from localllm.api.openai.logprobs import ChatLogprobs, TextLogprobs
from localllm.types import FinishReason, ModelState, Usage


class PromptTokensDetails(Struct, frozen=True):
    """Of the prompt's tokens."""

    cached_tokens: int


class UsageObject(Struct, frozen=True):
    """`usage`."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails

    @classmethod
    def of(cls, usages: Sequence[Usage]) -> "UsageObject":
        """From what the worker measured of each choice: the prompt is read, and counted, once."""
        first = usages[0]
        completion = sum(usage.completion_tokens for usage in usages)
        details = PromptTokensDetails(first.cached_tokens)
        return cls(first.prompt_tokens, completion, first.prompt_tokens + completion, details)


class AssistantMessage(Struct, frozen=True):
    """The message of a whole answer."""

    content: str
    role: str = "assistant"
    refusal: str | None = None


class ChatChoice(Struct, frozen=True):
    """The choice of a whole answer."""

    message: AssistantMessage
    finish_reason: FinishReason
    index: int
    logprobs: ChatLogprobs | None = None


class TextChoice(Struct, frozen=True):
    """The choice of a text completion."""

    text: str
    finish_reason: FinishReason | None
    index: int
    logprobs: TextLogprobs | None = None


class ChatCompletion(Struct, frozen=True):
    """A whole chat answer."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageObject
    object: str = "chat.completion"
    service_tier: str | UnsetType = UNSET


class TextCompletion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole text completion, or one chunk of it."""

    id: str
    object: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: UsageObject | None = None
    service_tier: str | UnsetType = UNSET


class Running(Struct, frozen=True, kw_only=True):
    """How a model runs here: more than OpenAI's API tells, under a name that it does not use."""

    state: ModelState
    engine: str | None = None  # the rest is known once it is loaded
    build: str | None = None
    device: str | None = None
    context_tokens: int | None = None
    max_jobs: int | None = None
    reasons: tuple[str, ...] = ()  # why it runs so
    fallbacks: tuple[str, ...] = ()  # what was given up to load it


class ModelObject(Struct, frozen=True, kw_only=True):
    """A model in /v1/models."""

    id: str
    created: int
    localllm: Running
    object: str = "model"
    owned_by: str = "localllm"


class ModelList(Struct, frozen=True):
    """/v1/models."""

    data: list[ModelObject]
    object: str = "list"


class Heading(Struct, frozen=True):
    """What every part of one answer repeats."""

    id: str
    created: int
    model: str
    service_tier: str | UnsetType

    @classmethod
    def new(cls, prefix: str, model: str, service_tier: str | UnsetType = UNSET) -> "Heading":
        """A fresh id, now."""
        return cls(f"{prefix}-{secrets.token_hex(12)}", int(time.time()), model, service_tier)
