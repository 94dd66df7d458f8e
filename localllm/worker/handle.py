"""The parent's side of a worker: start it, give it jobs, notice when it dies."""

import asyncio
import itertools
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import cast

import msgspec

from localllm.config import worker_environment
from localllm.engines.job import Delta
from localllm.engines.plan import LoadPlan
from localllm.errors import LoadFailed, LoadKilled, LocalLLMError, ServiceClosed, WorkerDied
from localllm.types import (
    ChatRequest,
    Embeddings,
    EmbedRequest,
    EngineInfo,
    Measurements,
    Sampling,
    TextRequest,
)
from localllm.worker.frames import FrameBuffer, frame
from localllm.worker.mailbox import Mailbox
from localllm.worker.messages import (
    Cancel,
    Deltas,
    Embed,
    Embedded,
    EngineFault,
    FromWorker,
    JobFault,
    Leave,
    Load,
    LoadFault,
    Loading,
    Measure,
    Ready,
    Submit,
    ToWorker,
)

SIGKILL = 9  # which the module signal of Windows does not have
STDERR = 2  # file descriptor
STDERR_LINES = 20
CLOSE_SECONDS = 2.0
LEAVE_SECONDS = 5.0  # a little more than the worker takes for putting prompts away


class WorkerHandle:
    """A running worker. Made by `start`; every method belongs to the event loop it was started on."""

    def __init__(self, plan: LoadPlan, on_progress: Callable[[float], None]) -> None:
        loop = asyncio.get_running_loop()
        self._plan = plan
        self._on_progress = on_progress
        self._ready: asyncio.Future[EngineInfo] = loop.create_future()
        self._exited: asyncio.Future[None] = loop.create_future()
        self._measurements: deque[asyncio.Future[Measurements]] = deque()
        self._mailboxes: dict[int, Mailbox] = {}
        self._embeddings: dict[int, asyncio.Future[Embeddings]] = {}
        self._job_ids = itertools.count(1)
        self._last_words: LocalLLMError | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._protocol: _Protocol | None = None

    @classmethod
    async def start(cls, plan: LoadPlan, on_progress: Callable[[float], None]) -> "WorkerHandle":
        """Start a worker and load the model. Raises LoadFailed, EngineUnavailable or WorkerDied."""
        handle = cls(plan, on_progress)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: _Protocol(handle),
            *(sys.executable, "-P", "-m", "localllm.worker"),  # no module of the current folder in the place of ours
            env=worker_environment(),
        )
        handle._transport, handle._protocol = transport, protocol
        try:
            handle._send(Load(plan))
            await asyncio.shield(handle._ready)
        except BaseException:
            await handle.close()
            raise
        return handle

    @property
    def info(self) -> EngineInfo:
        """What the loaded engine is."""
        return self._ready.result()

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs and has not announced its end."""
        return not self._exited.done() and self._last_words is None

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._transport.get_pid() if self._transport else 0

    async def run(self, request: ChatRequest | TextRequest, sampling: Sampling) -> AsyncGenerator[list[Delta], None]:
        """Deltas of one job, grouped as they came; the last of them has `finish`. Closing it cancels the job.

        Raises what the worker reports, or WorkerDied.
        """
        job_id = next(self._job_ids)
        mailbox = self._mailboxes[job_id] = Mailbox()
        is_over = False
        try:
            self._send(Submit(job_id, request, sampling))
            while not is_over:
                deltas = await mailbox.take()
                is_over = deltas[-1].finish is not None
                yield deltas
        except LocalLLMError:
            is_over = True
            raise
        finally:
            del self._mailboxes[job_id]
            if not is_over and self.is_alive:
                self._send(Cancel(job_id))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vectors of one job. Cancelling the call cancels the job.

        Raises what the worker reports, or WorkerDied.
        """
        job_id = next(self._job_ids)
        future: asyncio.Future[Embeddings] = asyncio.get_running_loop().create_future()
        self._send(Embed(job_id, request))
        self._embeddings[job_id] = future
        try:
            return await future
        except asyncio.CancelledError:
            if self.is_alive:
                self._send(Cancel(job_id))
            raise
        finally:
            del self._embeddings[job_id]

    async def measure(self) -> Measurements:
        """What the worker has used so far; answered between two steps."""
        future: asyncio.Future[Measurements] = asyncio.get_running_loop().create_future()
        self._send(Measure())
        self._measurements.append(future)
        return await future

    async def close(self) -> None:
        """End the process and fail what still runs; idempotent. A worker that keeps prompts may put them away first."""
        keeps_prompts = self._plan.scheduling.cache_path is not None and self._ready.done() and self.is_alive
        if keeps_prompts:
            with suppress(LocalLLMError):
                self._send(Leave())
        self._end(ServiceClosed("the model is being unloaded"))
        if self._transport is None:
            return
        try:
            if keeps_prompts:
                await asyncio.wait({self._exited}, timeout=LEAVE_SECONDS)
            if not self._exited.done():
                await self._end_process(self._transport)
        finally:
            self._transport.close()

    async def _end_process(self, transport: asyncio.SubprocessTransport) -> None:
        stdin = transport.get_pipe_transport(0)
        if stdin is not None:
            stdin.close()  # the worker exits when its stdin ends
        try:
            await asyncio.wait_for(asyncio.shield(self._exited), CLOSE_SECONDS)
        except TimeoutError:
            transport.kill()
            await self._exited

    def _send(self, message: ToWorker) -> None:
        transport = self._transport.get_pipe_transport(0) if self._transport else None
        pipe = cast(asyncio.WriteTransport | None, transport)  # uvloop's own class does not derive from it
        if not self.is_alive or pipe is None or pipe.is_closing():
            raise self._last_words or WorkerDied("the model's process has ended")
        pipe.write(frame(message))

    def _received(self, message: FromWorker) -> None:
        match message:
            case Deltas(deltas=deltas):
                for delta in deltas:
                    mailbox = self._mailboxes.get(delta.job_id)
                    if mailbox is not None:  # else it was cancelled meanwhile
                        mailbox.put(delta)
            case Embedded(job_id=job_id, embeddings=embeddings):
                future = self._embeddings.get(job_id)
                if future is not None and not future.done():  # else it was cancelled meanwhile
                    future.set_result(embeddings)
            case JobFault(job_id=job_id, error=report):
                self._fail_job(job_id, report.rebuild())
            case Loading(fraction=fraction):
                self._on_progress(fraction)
            case Ready(info=info):
                if not self._ready.done():
                    self._ready.set_result(info)
            case Measurements():
                if self._measurements:
                    self._measurements.popleft().set_result(message)
            case LoadFault(error=report) | EngineFault(error=report):
                self._end(report.rebuild())

    def _fail_job(self, job_id: int, error: LocalLLMError) -> None:
        future = self._embeddings.get(job_id)
        if job_id in self._mailboxes:
            self._mailboxes[job_id].fail(error)
        elif future is not None and not future.done():
            future.set_exception(error)

    def _process_exited(self, status: int | None, stderr: str) -> None:
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        reason = f"; its last words: {stderr}" if stderr else ""
        text = f"the model's process ended ({how}){reason}"
        fault = LoadKilled if status == -SIGKILL else LoadFailed
        self._end(WorkerDied(text) if self._ready.done() else fault(text))
        if not self._exited.done():
            self._exited.set_result(None)

    def _end(self, error: LocalLLMError) -> None:
        """Fail everything that waits for this worker; the first reason stands."""
        self._last_words = self._last_words or error
        if not self._ready.done():
            self._ready.set_exception(self._last_words)
            self._ready.exception()  # marks it as seen: nobody may be waiting
        for mailbox in self._mailboxes.values():
            mailbox.fail(self._last_words)
        for measured in self._measurements:
            if not measured.done():
                measured.set_exception(self._last_words)
        self._measurements.clear()
        for embedded in self._embeddings.values():
            if not embedded.done():
                embedded.set_exception(self._last_words)


class _Protocol(asyncio.SubprocessProtocol):
    """Bytes from the child to messages; its end to the handle."""

    def __init__(self, handle: WorkerHandle) -> None:
        self._handle = handle
        self._frames = FrameBuffer()
        self._decoder = msgspec.msgpack.Decoder(FromWorker)
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == STDERR:
            self._stderr.extend(data.decode("utf-8", "replace").splitlines())
            return
        try:
            for body in self._frames.feed(data):
                self._handle._received(self._decoder.decode(body))
        except (ValueError, msgspec.MsgspecError) as error:
            self._handle._end(WorkerDied(f"the model's process sent garbage: {error}"))
            if self._transport is not None:
                self._transport.kill()

    def connection_lost(self, _error: Exception | None) -> None:  # the process has ended and its pipes are read out
        status = self._transport.get_returncode() if self._transport else None
        self._handle._process_exited(status, " | ".join(line for line in self._stderr if line.strip())[-600:])
