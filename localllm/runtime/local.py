"""LocalService: the service door, answered by workers on this machine."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from localllm.engines.job import Delta
from localllm.errors import ModelNotFound, ServiceClosed, UnsupportedField
from localllm.runtime.served import ServedModel
from localllm.types import (
    ChatRequest,
    EngineInfo,
    Event,
    Finished,
    LoadProgress,
    Measurements,
    Message,
    ModelDefaults,
    ModelInfo,
    PromptProgress,
    Sampling,
    SamplingChoice,
    TextDelta,
    TextRequest,
)


class LocalService:
    """A ChatService over a fixed set of models; the first is the default."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = {served.model.id: served for served in models}
        self._default = models[0].model.id
        self._is_closed = False

    async def models(self) -> list[ModelInfo]:
        """The models that a request may name."""
        return [served.info for served in self._models.values()]

    async def load(self, model: str | None = None) -> AsyncGenerator[LoadProgress, None]:
        """Load a model, telling how far it is."""
        async with aclosing(self._find(model).load()) as steps:
            async for fraction in steps:
                yield LoadProgress(fraction)

    def chat(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Answer a chat."""
        return self._run(request)

    def complete(self, request: TextRequest) -> AsyncGenerator[Event, None]:
        """Continue a text."""
        return self._run(request)

    async def measure(self, model: str | None = None) -> Measurements:
        """What a model's worker has used so far."""
        return await (await self._find(model).worker()).measure()

    async def close(self) -> None:
        """Stop every job and end every worker."""
        self._is_closed = True
        await asyncio.gather(*(served.unload() for served in self._models.values()))

    async def _run(self, request: ChatRequest | TextRequest) -> AsyncGenerator[Event, None]:
        served = self._find(request.model)
        worker = await served.worker()
        sampling = _merge(served.model.defaults.sampling, request.sampling, worker.info)
        async with aclosing(worker.run(_with_system(request, served.model.defaults), sampling)) as groups:
            async for deltas in groups:
                for event in _events(deltas):
                    yield event

    def _find(self, model: str | None) -> ServedModel:
        if self._is_closed:
            raise ServiceClosed("the service is shutting down")
        served = self._models.get(model or self._default)
        if served is None:
            names = ", ".join(self._models)
            raise ModelNotFound(f"the model {model!r} is not served here; there is: {names}", param="model")
        return served


def _merge(defaults: Sampling, choice: SamplingChoice, engine: EngineInfo) -> Sampling:
    """The model's defaults under what the request chose. Raises UnsupportedField."""
    chosen = choice.chosen()
    refused = chosen.keys() - engine.sampling
    if refused:
        name = min(refused)
        raise UnsupportedField(f"the engine {engine.engine} does not honour {name}", param=name)
    return msgspec.structs.replace(defaults, **chosen)


def _with_system(request: ChatRequest | TextRequest, defaults: ModelDefaults) -> ChatRequest | TextRequest:
    """A chat that brings no system prompt gets the model's own, if it has one."""
    if not isinstance(request, ChatRequest) or defaults.system is None:
        return request
    if request.messages and request.messages[0].role == "system":
        return request
    messages = (Message("system", defaults.system), *request.messages)
    return msgspec.structs.replace(request, messages=messages)


def _events(deltas: list[Delta]) -> list[Event]:
    """The events of deltas that came together; their text is joined."""
    events: list[Event] = []
    read = [delta for delta in deltas if delta.prompt_total]
    text = "".join(delta.text for delta in deltas)
    last = deltas[-1]
    if read:
        events.append(PromptProgress(read[-1].prompt_done, read[-1].prompt_total))
    if text:
        events.append(TextDelta(text))
    if last.finish is not None and last.usage is not None:
        events.append(Finished(last.finish, last.usage))
    return events
