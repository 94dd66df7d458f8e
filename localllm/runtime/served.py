"""A model that the service answers with, and the worker it lives in at the moment."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from msgspec import Struct

from localllm.engines.plan import LoadPlan
from localllm.errors import LocalLLMError
from localllm.models.local import LocalModel
from localllm.types import EngineInfo, ModelInfo, ModelState, Sampling, honoured
from localllm.worker.handle import WorkerHandle


class Rung(Struct, frozen=True, kw_only=True):
    """Less than was tried before, and in a sentence what was given up and why."""

    plan: LoadPlan
    words: str


Ladder = Callable[[LoadPlan, LocalLLMError], Rung]  # what to try when a plan could not be loaded, or raises


def no_ladder(_plan: LoadPlan, error: LocalLLMError) -> Rung:
    """Nothing else is tried."""
    raise error


class ServedModel:
    """Loads on first use, and again after its worker died; all who ask meanwhile share one load.

    What cannot be loaded as planned is tried with less, rung by rung; what was given up stays so.
    """

    def __init__(
        self,
        model: LocalModel,
        plan: LoadPlan,
        *,
        reasons: tuple[str, ...] = (),
        ladder: Ladder = no_ladder,
        on_fallback: Callable[[str], None] = lambda _words: None,
    ) -> None:
        """`reasons` say why the plan is as it is; `on_fallback` is told of each rung."""
        self.model = model
        self._plan = plan
        self._reasons = reasons
        self._ladder = ladder
        self._on_fallback = on_fallback
        self._fallbacks: list[str] = []
        self._handle: WorkerHandle | None = None
        self._loading: asyncio.Task[WorkerHandle] | None = None
        self._progress: set[asyncio.Queue[float]] = set()

    @property
    def state(self) -> ModelState:
        """Where the model is in its life."""
        if self._loading is not None:
            return "loading"
        return "ready" if self._handle is not None and self._handle.is_alive else "unloaded"

    @property
    def info(self) -> ModelInfo:
        """The model as the service shows it."""
        handle = self._handle
        engine = handle.info if handle is not None and self.state == "ready" else None
        return ModelInfo(
            id=self.model.id,
            state=self.state,
            created=self.model.created,
            engine=engine,
            reasons=(*self._reasons, *(_left_out(self.model, engine) if engine else ())),
            fallbacks=tuple(self._fallbacks),
        )

    async def worker(self) -> WorkerHandle:
        """A worker with the model loaded. Raises LoadFailed, EngineUnavailable or WorkerDied."""
        if self._handle is not None and self._handle.is_alive:
            return self._handle
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        return await asyncio.shield(self._loading)

    async def load(self) -> AsyncGenerator[float, None]:
        """Make sure the model is loaded; yields how far (0 to 1) as it goes."""
        if self.state == "ready":
            return
        queue: asyncio.Queue[float] = asyncio.Queue()
        self._progress.add(queue)
        load = asyncio.ensure_future(self.worker())
        try:
            while not load.done():
                waiting = asyncio.ensure_future(queue.get())
                await asyncio.wait({waiting, load}, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    yield waiting.result()
                else:
                    waiting.cancel()
            load.result()
        finally:
            self._progress.discard(queue)
            load.cancel()

    async def unload(self) -> None:
        """End the worker, also one that is still loading."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        if self._handle is not None:
            await self._handle.close()
            self._handle = None

    async def _load(self) -> WorkerHandle:
        try:
            if self._handle is not None:  # a dead one: collect its exit status
                await self._handle.close()
            self._handle = await self._start()
            return self._handle
        finally:
            self._loading = None

    async def _start(self) -> WorkerHandle:
        """A worker by the plan, or by the first rung below that can be loaded. Raises what the ladder raises."""
        while True:
            try:
                return await WorkerHandle.start(self._plan, self._report)
            except LocalLLMError as error:
                rung = self._ladder(self._plan, error)
            self._plan = rung.plan
            self._fallbacks.append(rung.words)
            self._on_fallback(rung.words)

    def _report(self, fraction: float) -> None:
        for queue in self._progress:
            queue.put_nowait(fraction)


def _left_out(model: LocalModel, engine: EngineInfo) -> tuple[str, ...]:
    """Which of the model's own defaults the engine does not honour, in a sentence."""
    defaults = model.defaults.sampling
    kept = honoured(defaults, engine.sampling)
    names = [name for name in Sampling.__struct_fields__ if getattr(kept, name) != getattr(defaults, name)]
    if not names:
        return ()
    return (f"the model's own choice of {' and '.join(names)} is left out: {engine.engine} does not honour it",)
