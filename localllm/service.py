"""ChatService: the one door that every front end uses."""

from collections.abc import AsyncGenerator
from typing import Protocol

from localllm.types import (
    ChatRequest,
    Embeddings,
    EmbedRequest,
    Event,
    LoadProgress,
    Measurements,
    ModelInfo,
    TextRequest,
)


class ChatService(Protocol):
    """Answers requests. Closing an event generator cancels its job.

    Every generator may raise an error of `localllm.errors`, before the first event or after some.
    The last event of an answer that ended well is always `Finished`.
    """

    async def models(self) -> list[ModelInfo]:
        """The models that a request may name, the default first."""
        ...

    def load(self, model: str | None = None) -> AsyncGenerator[LoadProgress, None]:
        """Load a model, or wait for one that is loading; nothing to do is no event."""
        ...

    def chat(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Answer a chat."""
        ...

    def complete(self, request: TextRequest) -> AsyncGenerator[Event, None]:
        """Continue a text."""
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """A vector for each input. Cancelling the call cancels the job."""
        ...

    async def measure(self, model: str | None = None) -> Measurements:
        """What a model's process has used so far; loads the model if need be."""
        ...

    async def close(self) -> None:
        """Stop every job and free every model."""
        ...
