"""A service that says what the test wrote down."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from localllm.types import (
    ChatRequest,
    Embeddings,
    EmbedRequest,
    EngineInfo,
    Event,
    Finished,
    FinishReason,
    LoadProgress,
    Measurements,
    ModelInfo,
    ModelState,
    PromptProgress,
    TextDelta,
    TextRequest,
    Usage,
)
from tests.scripts import Step, played

ENGINE = EngineInfo(
    engine="fake",
    build="1",
    device="cpu",
    context_tokens=1000,
    max_jobs=1,
    threads=1,
    vocab_size=256,
    sampling=frozenset(),
    has_chat_template=True,
    load_seconds=0.0,
)


def usage(prompt: int = 10, completion: int = 11, decode_seconds: float = 1.0) -> Usage:
    return Usage(
        prompt_tokens=prompt,
        cached_tokens=0,
        completion_tokens=completion,
        queue_seconds=0.0,
        prefill_seconds=0.25,
        decode_seconds=decode_seconds,
    )


def says(*texts: str, reason: FinishReason = "stop", cost: Usage | None = None) -> list[Step]:
    """The steps of an answer that ends well."""
    return [PromptProgress(0, 10), *map(TextDelta, texts), Finished(reason, cost or usage())]


def pauses(text: str, gate: asyncio.Event, *rest: str) -> list[Step]:
    """The steps of an answer that goes on only once `gate` is set."""
    start, *end = says(*rest)
    return [start, TextDelta(text), gate, *end]


class FakeService:
    """Plays one script for each chat or text; the last one again when they run out."""

    def __init__(
        self,
        *scripts: Sequence[Step],
        loading: Sequence[LoadProgress | Step] = (),
        reasons: tuple[str, ...] = (),
        fallbacks: tuple[str, ...] = (),
    ) -> None:
        self._reasons, self._fallbacks = reasons, fallbacks
        self.requests: list[ChatRequest] = []
        self.texts: list[TextRequest] = []
        self.embeds: list[EmbedRequest] = []
        self.embeddings: Embeddings | Exception | asyncio.Event = NotImplementedError()  # an Event: waits for ever
        self.closed_chats = 0
        self.is_closed = False
        self._scripts = list(scripts) or [says("hello")]
        self._loading = list(loading)
        self._is_loaded = False
        self._one_load = asyncio.Lock()

    async def models(self) -> list[ModelInfo]:
        engine = ENGINE if self._is_loaded else None
        fallbacks = self._fallbacks if engine else ()
        state: ModelState = "ready" if engine else "unloaded"
        info = ModelInfo(
            id="fake:1b", state=state, created=0, engine=engine, reasons=self._reasons, fallbacks=fallbacks
        )
        return [info]

    async def load(self, model: str | None = None) -> AsyncGenerator[LoadProgress, None]:
        async with self._one_load:
            while self._loading:
                step = self._loading.pop(0)
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, LoadProgress):
                    yield step
                elif isinstance(step, Exception):
                    raise step
            self._is_loaded = True

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        async with aclosing(self._play()) as events:
            async for event in events:
                yield event

    async def complete(self, request: TextRequest) -> AsyncGenerator[Event, None]:
        self.texts.append(request)
        async with aclosing(self._play()) as events:
            async for event in events:
                yield event

    async def embed(self, request: EmbedRequest) -> Embeddings:
        self.embeds.append(request)
        if isinstance(self.embeddings, Exception):
            raise self.embeddings
        if isinstance(self.embeddings, asyncio.Event):
            try:
                await asyncio.Event().wait()
            finally:
                self.embeddings.set()
        assert isinstance(self.embeddings, Embeddings)
        return self.embeddings

    async def _play(self) -> AsyncGenerator[Event, None]:
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        try:
            async with aclosing(played(script)) as events:
                async for event in events:
                    yield event
        finally:
            self.closed_chats += 1

    async def measure(self, model: str | None = None) -> Measurements:
        raise NotImplementedError

    async def close(self) -> None:
        self.is_closed = True
