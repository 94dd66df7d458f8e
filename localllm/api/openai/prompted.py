"""What the bodies of chats and text completions share beside sampling: how many answers, for whom, and how served."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from localllm.api.openai.response_format import ResponseFormat, StructuredOutputs, constraint_of
from localllm.api.openai.sampling import SamplingFields, StreamOptions
from localllm.errors import InvalidRequest
from localllm.types import AdapterUse, Client, Constraint

MAX_CHOICES = 4
MAX_ADAPTERS = 16
MAX_TOP_LOGPROBS = 20

TopLogprobs = Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)]


class LoraUse(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of `lora`: a LoRA adapter that the server has loaded, and how strongly it acts."""

    name: str
    scale: Annotated[float, Meta(ge=0)] = 1.0


class PromptedFields(SamplingFields, kw_only=True):
    """Fields of the request body. `lora` and `structured_outputs` go beyond OpenAI's."""

    model: str | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    lora: Annotated[tuple[LoraUse, ...], Meta(max_length=MAX_ADAPTERS)] = ()

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with what it cost."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def adapters(self) -> tuple[AdapterUse, ...]:
        """The adapters asked for."""
        return tuple(AdapterUse(use.name, use.scale) for use in self.lora)

    @property
    def constraint(self) -> Constraint | None:
        """What the answers must match. Raises InvalidRequest."""
        return constraint_of(self.response_format, self.structured_outputs)

    def check(self) -> None:
        """Refuse what only several fields together show to be wrong. Raises InvalidRequest."""
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options: only with stream", param="stream_options")

    def ranked(self, client: Client) -> Client:
        """The client with the rank of this request: "flex" lowers it, nothing raises it."""
        return msgspec.structs.replace(client, priority="batch") if self.service_tier == "flex" else client

    def tier(self, client: Client) -> str | UnsetType:
        """The tier that the answer names, where one was asked for."""
        if self.service_tier is None:
            return UNSET
        return "flex" if self.ranked(client).priority == "batch" else "default"
