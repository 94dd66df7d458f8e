"""The body of POST /v1/completions, and its translation into a TextRequest."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from localllm.api.body import decode_body
from localllm.api.openai.fields import IGNORED, REFUSED_COMPLETION
from localllm.api.openai.prompted import PromptedFields, TopLogprobs
from localllm.errors import InvalidRequest, UnsupportedField
from localllm.types import Client, TextRequest

DEFAULT_MAX_TOKENS = 16  # OpenAI's own default for this endpoint

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Prompt = str | list[str | TokenId | list[TokenId]]


class CompletionBody(PromptedFields, kw_only=True):
    """The fields that are honoured."""

    prompt: Prompt
    logprobs: TopLogprobs | UnsetType = UNSET


def parse_completion(data: bytes) -> CompletionBody:
    """The body. Raises InvalidRequest or UnsupportedField, naming the field."""
    body = decode_body(data, CompletionBody, ignored=IGNORED, refused=REFUSED_COMPLETION)
    body.check()
    return body


def text_request(body: CompletionBody, client: Client) -> TextRequest:
    """What the service is asked, for this client. Raises InvalidRequest or UnsupportedField."""
    sampling = msgspec.structs.replace(body.choice(), logprobs=body.logprobs)
    if isinstance(sampling.max_tokens, UnsetType):
        sampling = msgspec.structs.replace(sampling, max_tokens=DEFAULT_MAX_TOKENS)
    prompts = prompts_of(body.prompt, "prompt")
    if len(prompts) > 1:
        raise UnsupportedField("prompt: one prompt a request; send several requests", param="prompt")
    return TextRequest(
        prompt=prompts[0],
        model=body.model,
        sampling=sampling,
        choices=body.n,
        constraint=body.constraint,
        adapters=body.adapters,
        client=body.ranked(client),
    )


def prompts_of(prompt: Prompt, param: str) -> list[str | tuple[int, ...]]:
    """The texts or token lists in any of the four forms: text, [text, …], [token, …], [[token, …], …].

    Raises InvalidRequest, naming `param`, where there is none or the forms are mixed.
    """
    if isinstance(prompt, str):
        return [prompt]
    tokens = tuple(item for item in prompt if isinstance(item, int))
    texts = [item for item in prompt if isinstance(item, str)]
    lists = [tuple(item) for item in prompt if isinstance(item, list)]
    if not prompt:
        raise InvalidRequest(f"{param} is empty", param=param)
    if tokens and not (texts or lists):
        return [tokens]
    if tokens or (texts and lists):
        raise InvalidRequest(f"{param}: texts, tokens and lists of tokens cannot be mixed", param=param)
    return [*texts, *lists]
