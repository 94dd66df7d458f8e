"""POST /v1/embeddings."""

import base64
import struct
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from localllm.api.body import decode_body, read_body
from localllm.api.disconnect import unless_client_leaves
from localllm.api.guard import client_of
from localllm.api.openai.completion_body import Prompt, prompts_of
from localllm.api.openai.fields import IGNORED
from localllm.api.openai.models import default_model
from localllm.errors import InvalidRequest
from localllm.service import ChatService
from localllm.types import Client, Embeddings, EmbedRequest

MAX_INPUTS = 2048  # OpenAI's own limit
FLOAT_BYTES = 4


class EmbeddingsBody(Struct, kw_only=True):
    """The fields that are honoured."""

    input: Prompt
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None


class EmbeddingObject(Struct, frozen=True):
    """One vector: a list of numbers, or its float32 values, little-endian, in base64."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(Struct, frozen=True):
    """`usage`."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct, frozen=True):
    """The answer."""

    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage
    object: str = "list"


class EmbeddingsEndpoint:
    """The endpoint."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def __call__(self, request: Request) -> Response:
        """Answer with all vectors. Raises ClientLeft; the job has then been cancelled."""
        body = decode_body(await read_body(request), EmbeddingsBody, ignored=IGNORED, refused={})
        wanted = embed_request(body, client_of(request))
        model = body.model or await default_model(self._service)
        found = await unless_client_leaves(self._service.embed(wanted), request.receive)
        return Response(msgspec.json.encode(_answer(found, model, body)), media_type="application/json")


def embed_request(body: EmbeddingsBody, client: Client) -> EmbedRequest:
    """What the service is asked, for this client. Raises InvalidRequest."""
    inputs = prompts_of(body.input, "input")
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequest(f"input has {len(inputs)} entries, the most is {MAX_INPUTS}", param="input")
    if not all(inputs):
        raise InvalidRequest("input: an entry is empty", param="input")
    return EmbedRequest(inputs=tuple(inputs), model=body.model, client=client)


def _answer(found: Embeddings, model: str, body: EmbeddingsBody) -> EmbeddingList:
    width = len(found.vectors[0]) // FLOAT_BYTES
    if body.dimensions not in (None, width):
        raise InvalidRequest(f"dimensions: this model's vectors have {width}, and only that", param="dimensions")
    encode = _numbers if body.encoding_format == "float" else _base64
    data = [EmbeddingObject(index, encode(vector)) for index, vector in enumerate(found.vectors)]
    return EmbeddingList(data, model, EmbeddingUsage(found.prompt_tokens, found.prompt_tokens))


def _numbers(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // FLOAT_BYTES}f", vector))


def _base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode("ascii")
