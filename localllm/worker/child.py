"""The worker's side: one engine on the main thread, one thread that reads and prepares what the parent sends.

When the parent goes, stdin ends and the process exits at once, whatever the engine is doing.
"""

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator

import msgspec

from localllm.devices.cpu import peak_memory_bytes
from localllm.engines.job import Delta, Job
from localllm.errors import EngineError, LocalLLMError
from localllm.inference.embedding import EmbedJob
from localllm.types import Measurements
from localllm.worker.assembly import Engines, assemble
from localllm.worker.frames import Outlet, messages
from localllm.worker.intake import Intake
from localllm.worker.messages import (
    Cancel,
    Deltas,
    Embed,
    Embedded,
    EngineFault,
    ErrorReport,
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

ENGINE_FAILED = 70  # exit status (EX_SOFTWARE): the reason was sent before

IDLE_SECONDS = 2.0  # without anything to do, before prompts are put away
LEAVE_SECONDS = 3.0  # for putting prompts away at the end

Order = Job | EmbedJob | Cancel | Measure | Leave


def main() -> None:
    """Run until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then says what to stop
    pipe = Outlet()
    loads: queue.SimpleQueue[Load] = queue.SimpleQueue()
    intakes: queue.SimpleQueue[Intake] = queue.SimpleQueue()
    inbox: queue.SimpleQueue[Order] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(loads, intakes, inbox, pipe), daemon=True).start()
    plan = loads.get().plan
    try:
        engines = assemble(plan, lambda fraction: pipe.send(Loading(fraction)))
    except LocalLLMError as error:
        pipe.send(LoadFault(ErrorReport.of(error)))
        return
    intakes.put(Intake(engines.engine.tokenizer, plan.scheduling.volatile_lines, compiles=engines.has_logits))
    pipe.send(Ready(engines.engine.info))
    _serve(engines, inbox, pipe)


def _read(
    loads: "queue.SimpleQueue[Load]",
    intakes: "queue.SimpleQueue[Intake]",
    inbox: "queue.SimpleQueue[Order]",
    pipe: Outlet,
) -> None:
    """Templates and tokenizing happen here, beside the engine, so that a long prompt does not stall a stream."""
    orders: Iterator[ToWorker] = messages(0, msgspec.msgpack.Decoder(ToWorker))
    first = next(orders, None)
    if not isinstance(first, Load):
        os._exit(ENGINE_FAILED)
    loads.put(first)
    intake: Intake | None = None
    for message in orders:
        match message:
            case Submit() | Embed():
                intake = intake or intakes.get()
                try:
                    inbox.put(intake.job(message) if isinstance(message, Submit) else intake.embed_job(message))
                except LocalLLMError as error:
                    pipe.send(JobFault(message.job_id, ErrorReport.of(error)))
            case Cancel() | Measure() | Leave():
                inbox.put(message)
            case Load():
                os._exit(ENGINE_FAILED)
    os._exit(0)


def _serve(engines: Engines, inbox: "queue.SimpleQueue[Order]", pipe: Outlet) -> None:
    try:
        while True:
            while not inbox.empty() or not engines.are_busy:
                _obey(_next_order(engines, inbox), engines, pipe)
            _step(engines, pipe)
    except EngineError as error:
        pipe.send(EngineFault(ErrorReport.of(error)))
        raise SystemExit(ENGINE_FAILED) from error


def _next_order(engines: Engines, inbox: "queue.SimpleQueue[Order]") -> Order:
    """Wait for an order; after a while without one, put prompts away, one at a time."""
    patience: float | None = IDLE_SECONDS
    while True:
        try:
            return inbox.get(timeout=patience)
        except queue.Empty:
            patience = 0.0 if engines.engine.idle() else None


def _step(engines: Engines, pipe: Outlet) -> None:
    deltas = engines.engine.step()
    began = time.perf_counter()
    if deltas:
        pipe.send(Deltas(deltas))
    for job_id, error in engines.engine.take_faults():
        pipe.send(JobFault(job_id, ErrorReport.of(error)))
    engines.engine.timings.add_handover(time.perf_counter() - began)
    if engines.embedder.is_busy:
        done = engines.embedder.step()
        if done is not None:
            pipe.send(Embedded(*done))


def _obey(order: Order, engines: Engines, pipe: Outlet) -> None:
    match order:
        case Job() | EmbedJob():
            try:
                _start(order, engines, pipe)
            except LocalLLMError as error:
                pipe.send(JobFault(order.id, ErrorReport.of(error)))
        case Cancel():
            engines.engine.cancel(order.job_id)
            engines.embedder.cancel(order.job_id)
        case Measure():
            timings = engines.engine.timings
            pipe.send(Measurements(peak_memory_bytes(), timings.steps, timings.decode_seconds, timings.python_seconds))
        case Leave():
            _leave(engines)


def _start(order: Job | EmbedJob, engines: Engines, pipe: Outlet) -> None:
    if isinstance(order, EmbedJob):
        engines.embedder.start(order)
    else:
        engines.engine.start(order)
        pipe.send(Deltas([Delta(job_id=order.id, prompt_total=len(order.tokens))]))  # taken


def _leave(engines: Engines) -> None:
    deadline = time.monotonic() + LEAVE_SECONDS
    engines.engine.cancel_all()
    while time.monotonic() < deadline and engines.engine.put_away():
        pass
    os._exit(0)
