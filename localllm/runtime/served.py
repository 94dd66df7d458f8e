"""A model that the service answers with, and the worker it lives in at the moment."""

import asyncio
from collections.abc import AsyncGenerator

from localllm.engines.plan import LoadPlan
from localllm.models.local import LocalModel
from localllm.types import ModelInfo, ModelState
from localllm.worker.handle import WorkerHandle


class ServedModel:
    """Loads on first use, and again after its worker died; all who ask meanwhile share one load."""

    def __init__(self, model: LocalModel, plan: LoadPlan) -> None:
        self.model = model
        self._plan = plan
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
        return ModelInfo(id=self.model.id, state=self.state, created=self.model.created, engine=engine)

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
            self._handle = await WorkerHandle.start(self._plan, self._report)
            return self._handle
        finally:
            self._loading = None

    def _report(self, fraction: float) -> None:
        for queue in self._progress:
            queue.put_nowait(fraction)
