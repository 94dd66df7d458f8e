"""The pipeline: jobs as streams of MLC's asynchronous engine, what they bring as emissions.

The synchronous engine is no choice: it has one queue for all requests, and after a stream that was left early the next
one gets what was meant for it (mlc_llm/serve/engine.py, `sync_output_queue`).
"""

import asyncio
import itertools
import queue
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from localllm.devices.cpu import usable_cores
from localllm.engines.base import OnProgress, Tokenizer
from localllm.engines.job import Job
from localllm.engines.mlc.answer import Answer, joined
from localllm.engines.mlc.event_loop import EventLoopThread
from localllm.engines.mlc.folder import MlcFolder
from localllm.engines.mlc.library import LibraryOrder, find_library
from localllm.engines.mlc.native import Chunk, NativeEngine, failure_words, open_native, require_installed
from localllm.engines.mlc.options import MlcOptions, options_of
from localllm.engines.mlc.requests import SAMPLING, request_of
from localllm.engines.pipeline import Emission, PipelineInfo
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineError, EngineUnavailable, InvalidRequest, LoadFailed, LocalLLMError

STEP_SECONDS = 0.1  # that a step waits for the first emission
_LOOKING, _LOADING = 0.05, 0.6  # stages as fractions: looking for the library, which may be compiled; loading weights


class MlcPipeline:
    """One AsyncMLCEngine; see Pipeline. Its streams run on an event loop of their own thread, and end in a queue."""

    def __init__(self, plan: LoadPlan, on_progress: OnProgress) -> None:
        """Raises LoadFailed, EngineUnavailable, ConfigError."""
        began = time.perf_counter()
        options = options_of(plan)
        require_installed()
        folder = MlcFolder.of(plan)
        self.tokenizer = _tokenizer(folder)
        self._engine, build, device = _engine(plan, options, folder, self.tokenizer, on_progress)
        limits = self._engine.engine_config
        self.info = PipelineInfo(
            engine="mlc",
            build=build,
            device=device,
            context_tokens=_context_tokens(plan, folder, self._engine),
            max_jobs=limits.max_num_sequence,
            threads=usable_cores(),
            load_seconds=time.perf_counter() - began,
            sampling=SAMPLING,
            constraints=frozenset({"json_object", "json_schema"}),
        )
        self._is_shared_cache = options.prefix_cache == "radix"
        self._scope: str | None = None  # whose prompts the cache of MLC has
        self._arrived: queue.SimpleQueue[tuple[str, Emission | LocalLLMError]] = queue.SimpleQueue()
        self._running: dict[int, tuple[str, asyncio.Task[Exception | None]]] = {}  # by job: the request and its stream
        self._numbers = itertools.count(1)
        self._loop = EventLoopThread("mlc")
        on_progress(1.0)

    def start(self, job: Job, max_tokens: int) -> None:
        """Send a request. Raises InvalidRequest, also for what MLC refuses at once."""
        self._check_scope(job)
        request = request_of(job, max_tokens)
        request_id = f"localllm-{next(self._numbers)}"
        stream = self._loop.run(self._begin(job.id, request_id, request))
        self._running[job.id] = (request_id, stream)

    def step(self) -> list[Emission]:
        """What has come since the last one. Raises EngineError."""
        come: dict[str, Emission] = {}  # by request: one of each, so that nothing follows an end
        try:
            self._take(*self._arrived.get(timeout=STEP_SECONDS), come)
            while True:
                self._take(*self._arrived.get_nowait(), come)
        except queue.Empty:
            return list(come.values())

    def cancel(self, job_id: int) -> None:
        """Abort a request; idempotent."""
        request = self._running.pop(job_id, None)
        if request is not None:
            self._loop.run(_ended(request[1]))

    def close(self) -> None:
        """End the streams, then MLC's threads, which call into the loop, and then that; idempotent."""
        for job_id in list(self._running):
            self.cancel(job_id)
        self._engine.terminate()
        self._loop.close()

    def _check_scope(self, job: Job) -> None:
        if not self._is_shared_cache:
            return
        if self._scope is None:
            self._scope = job.client.scope
        if job.client.scope != self._scope:
            raise InvalidRequest(
                "with prefix_cache=radix this model answers one client alone, as MLC would share what is cached; "
                "leave out --engine-option prefix_cache"
            )

    def _take(self, request_id: str, arrived: Emission | LocalLLMError, come: dict[str, Emission]) -> None:
        """Keep what is for a request that still runs: the id of a job may come again. Raises EngineError."""
        if not any(running == request_id for running, _ in self._running.values()):
            return
        if isinstance(arrived, LocalLLMError):
            raise arrived
        before = come.get(request_id)
        come[request_id] = arrived if before is None else joined(before, arrived)

    async def _begin(
        self, job_id: int, request_id: str, request: dict[str, object]
    ) -> "asyncio.Task[Exception | None]":
        """Start the stream. Up to where it first waits MLC checks the request. Raises InvalidRequest."""
        try:
            chunks = await self._engine.completions.create(**request, request_id=request_id)
        except Exception as error:  # pydantic's
            raise InvalidRequest(f"MLC refuses this: {failure_words(error)}") from error
        task = asyncio.create_task(self._pump(job_id, request_id, chunks))
        for _ in range(2):  # rounds of the loop: in the first the task runs up to where it waits
            await asyncio.sleep(0)
        refusal = task.result() if task.done() else None
        if refusal is not None:
            raise InvalidRequest(f"MLC refuses this: {failure_words(refusal)}") from refusal
        return task

    async def _pump(self, job_id: int, request_id: str, chunks: AsyncGenerator[Chunk, None]) -> Exception | None:
        """Read a stream to its end, or until it is cancelled; MLC forgets the request either way. Returns an error."""
        answer = Answer(job_id)
        try:
            async for chunk in chunks:
                emission = answer.take(chunk)
                if emission is not None:
                    self._arrived.put((request_id, emission))
            self._arrived.put((request_id, answer.end()))
        except Exception as error:  # whatever MLC's threads have sent, and pydantic's of an end that it does not know
            fault = error if isinstance(error, EngineError) else EngineError(f"MLC failed: {failure_words(error)}")
            self._arrived.put((request_id, fault))
            return error
        finally:
            await chunks.aclose()
        return None


async def _ended(task: "asyncio.Task[Exception | None]") -> None:
    """Cancel a stream, and wait until it has aborted its request."""
    task.cancel()
    await asyncio.wait({task})


def _tokenizer(folder: MlcFolder) -> Tokenizer:
    """Raises LoadFailed, EngineUnavailable."""
    try:
        from localllm.engines.executorch.tokenizer import HubTokenizer  # noqa: PLC0415 - needs `tokenizers`
    except ImportError as error:
        raise EngineUnavailable("models of MLC need the package tokenizers; pip install tokenizers") from error
    beside = {name: str(path) for name, path in folder.files.items()}
    config = folder.config
    return HubTokenizer.load(beside, end_tokens=config.end_tokens, bos_token=config.bos_token_id)


def _engine(
    plan: LoadPlan, options: MlcOptions, folder: MlcFolder, tokenizer: Tokenizer, on_progress: OnProgress
) -> tuple[NativeEngine, str, str]:
    """It, the build of the package and the device. Raises LoadFailed, EngineUnavailable, ConfigError."""
    on_progress(_LOOKING)
    with folder.set_up(tokenizer.end_tokens) as place:
        library = find_library(LibraryOrder(folder=str(place), device=options.device, model_lib=options.model_lib))
        on_progress(_LOADING)
        native = open_native()
        try:
            engine = native.engine(
                model=str(place),
                device=native.device(library.kind, library.index),  # by name, it would look for it once more
                model_lib=library.path,
                mode=options.mode,
                engine_config=native.engine_config(**_settings(plan, options, folder)),
            )
        except Exception as error:  # FileNotFoundError, ValueError, pydantic's and TVM's own
            raise LoadFailed(f"MLC cannot load {_model_name(plan)}: {failure_words(error)}") from error
    return engine, native.build, library.device


def _settings(plan: LoadPlan, options: MlcOptions, folder: MlcFolder) -> dict[str, object]:
    """The fields of an EngineConfig (mlc_llm/serve/config.py)."""
    settings: dict[str, object] = {"prefix_cache_mode": options.prefix_cache, "verbose": False}
    if plan.max_jobs is not None:
        settings["max_num_sequence"] = plan.max_jobs
    if plan.context_tokens is not None:
        context_tokens = min(plan.context_tokens, folder.config.window_tokens or plan.context_tokens)
        settings["max_single_sequence_length"] = context_tokens
        settings["max_total_sequence_length"] = context_tokens * (plan.max_jobs or 1)  # where they take more, one waits
    return settings


def _context_tokens(plan: LoadPlan, folder: MlcFolder, engine: NativeEngine) -> int:
    limits = engine.engine_config
    sizes = (plan.context_tokens, folder.config.window_tokens)
    engine_tokens = min(limits.max_single_sequence_length, limits.max_total_sequence_length)
    return min(engine_tokens, *(size for size in sizes if size is not None))


def _model_name(plan: LoadPlan) -> str:
    path = Path(plan.path)
    return path.name if path.is_dir() else path.parent.name
