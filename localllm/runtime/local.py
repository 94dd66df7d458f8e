"""LocalService: the service door, answered by workers on this machine."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import msgspec

from localllm.errors import InvalidRequest, ModelNotFound, ServiceClosed, UnsupportedField
from localllm.runtime.choices import choice_events, sampling_of, side_by_side
from localllm.runtime.served import ServedModel
from localllm.types import (
    AdapterUse,
    ChatRequest,
    Embeddings,
    EmbedRequest,
    EngineInfo,
    Event,
    LoadProgress,
    Measurements,
    Message,
    ModelDefaults,
    ModelInfo,
    Sampling,
    SamplingChoice,
    TextRequest,
    honoured,
)

Request = ChatRequest | TextRequest


class LocalService:
    """A ChatService over a fixed set of models; the first is the default."""

    def __init__(
        self, models: Sequence[ServedModel], known_as: Callable[[str], str | None] = lambda _reference: None
    ) -> None:
        """`known_as` gives the name of the stored model that a reference means, if it means one."""
        self._known_as = known_as
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

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """A vector for each input. Raises InvalidRequest where the model makes none."""
        served = self._find(request.model)
        worker = await served.worker()
        if worker.info.embedding_width is None:
            raise InvalidRequest(
                f"this model makes no embeddings; serve one that is made for them in place of {served.model.id}",
                param="model",
            )
        return await worker.embed(request)

    async def _run(self, request: Request) -> AsyncGenerator[Event, None]:
        served = self._find(request.model)
        if request.choices < 1:
            raise InvalidRequest(f"at least one choice must be wanted, not {request.choices}", param="n")
        worker = await served.worker()
        sampling = _merge(served.model.defaults.sampling, request.sampling, worker.info)
        ready = msgspec.structs.replace(
            _with_system(request, served.model.defaults), adapters=_adapters(request.adapters, worker.info), choices=1
        )
        answers = [
            choice_events(worker.run(ready, sampling_of(choice, sampling)), choice) for choice in range(request.choices)
        ]
        async with aclosing(answers[0] if len(answers) == 1 else side_by_side(answers)) as events:
            async for event in events:
                yield event

    def _find(self, model: str | None) -> ServedModel:
        if self._is_closed:
            raise ServiceClosed("the service is shutting down")
        served = self._models.get(model or self._default) or self._models.get(self._known_as(model or "") or "")
        if served is None:
            names = ", ".join(self._models)
            raise ModelNotFound(f"the model {model!r} is not served here; there is: {names}", param="model")
        return served


def _merge(defaults: Sampling, choice: SamplingChoice, engine: EngineInfo) -> Sampling:
    """What the request chose, over the model's defaults as far as the engine honours those. Raises UnsupportedField."""
    chosen = choice.chosen()
    refused = chosen.keys() - engine.sampling
    if refused:
        name = min(refused)
        raise UnsupportedField(f"the engine {engine.engine} does not honour {name}", param=name)
    return msgspec.structs.replace(honoured(defaults, engine.sampling), **chosen)


def _with_system(request: Request, defaults: ModelDefaults) -> Request:
    """A chat that brings no system prompt gets the model's own, if it has one."""
    if not isinstance(request, ChatRequest) or defaults.system is None:
        return request
    if request.messages and request.messages[0].role == "system":
        return request
    messages = (Message("system", defaults.system), *request.messages)
    return msgspec.structs.replace(request, messages=messages)


def _adapters(wanted: tuple[AdapterUse, ...], engine: EngineInfo) -> tuple[AdapterUse, ...]:
    """The adapters that act, in one order, so that requests for the same ones can share steps and KV.

    Raises InvalidRequest.
    """
    names = [use.name for use in wanted]
    unknown = next((name for name in names if name not in engine.adapters), None)
    if unknown is not None:
        there = f"there is: {', '.join(engine.adapters)}" if engine.adapters else "serve it with: --lora NAME=PATH"
        raise InvalidRequest(f"no LoRA adapter {unknown[:80]!r} is loaded; {there}", param="lora")
    if len(set(names)) < len(names):
        raise InvalidRequest("a LoRA adapter is named twice", param="lora")
    return tuple(sorted((use for use in wanted if use.scale != 0), key=lambda use: use.name))
