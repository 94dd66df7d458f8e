"""The worker's side: one engine on the main thread, one thread that reads and prepares what the parent sends.

When the parent goes, stdin ends and the process exits at once, whatever the engine is doing.
"""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from localllm.devices.cpu import peak_memory_bytes
from localllm.engines.job import Delta, Job
from localllm.engines.registry import load_runner
from localllm.errors import EngineError, LocalLLMError
from localllm.inference.batcher import Batcher
from localllm.types import Measurements
from localllm.worker.intake import Intake
from localllm.worker.messages import (
    Cancel,
    Deltas,
    EngineFault,
    ErrorReport,
    FrameBuffer,
    FromWorker,
    JobFault,
    Load,
    LoadFault,
    Loading,
    Measure,
    Ready,
    Submit,
    ToWorker,
    frame,
)

READ_BYTES = 1 << 16
ENGINE_FAILED = 70  # exit status (EX_SOFTWARE): the reason was sent before

Order = Job | Cancel | Measure


class Pipe:
    """Frames to the parent, from any thread."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def send(self, message: FromWorker) -> None:
        """Write one frame; when the parent no longer reads, the process ends."""
        data = frame(message)
        try:
            with self._lock:
                self._file.write(data)
                self._file.flush()
        except OSError:
            os._exit(0)


def main() -> None:
    """Run until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then says what to stop
    pipe = Pipe(_take_stdout())
    loads: queue.SimpleQueue[Load] = queue.SimpleQueue()
    intakes: queue.SimpleQueue[Intake] = queue.SimpleQueue()
    inbox: queue.SimpleQueue[Order] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(loads, intakes, inbox, pipe), daemon=True).start()
    plan = loads.get().plan
    try:
        engine = Batcher(load_runner(plan, lambda fraction: pipe.send(Loading(fraction))))
    except LocalLLMError as error:
        pipe.send(LoadFault(ErrorReport.of(error)))
        return
    intakes.put(Intake(engine.tokenizer))
    pipe.send(Ready(engine.info))
    _serve(engine, inbox, pipe)


def _take_stdout() -> BinaryIO:
    """Keep stdout for frames alone: whatever a library prints goes to stderr instead."""
    ours = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(ours, "wb")


def _read(
    loads: "queue.SimpleQueue[Load]",
    intakes: "queue.SimpleQueue[Intake]",
    inbox: "queue.SimpleQueue[Order]",
    pipe: Pipe,
) -> None:
    """Templates and tokenizing happen here, beside the engine, so that a long prompt does not stall a stream."""
    messages = _messages()
    first = next(messages, None)
    if not isinstance(first, Load):
        os._exit(ENGINE_FAILED)
    loads.put(first)
    intake: Intake | None = None
    for message in messages:
        match message:
            case Submit():
                intake = intake or intakes.get()
                try:
                    inbox.put(intake.job(message))
                except LocalLLMError as error:
                    pipe.send(JobFault(message.job_id, ErrorReport.of(error)))
            case Cancel() | Measure():
                inbox.put(message)
            case Load():
                os._exit(ENGINE_FAILED)
    os._exit(0)


def _messages() -> Iterator[ToWorker]:
    buffer, decoder = FrameBuffer(), msgspec.msgpack.Decoder(ToWorker)
    while data := os.read(0, READ_BYTES):
        for body in buffer.feed(data):
            yield decoder.decode(body)


def _serve(engine: Batcher, inbox: "queue.SimpleQueue[Order]", pipe: Pipe) -> None:
    while True:
        while not inbox.empty() or not engine.is_busy:
            _obey(inbox.get(), engine, pipe)
        try:
            deltas = engine.step()
        except EngineError as error:
            pipe.send(EngineFault(ErrorReport.of(error)))
            raise SystemExit(ENGINE_FAILED) from error
        if deltas:
            began = time.perf_counter()
            pipe.send(Deltas(deltas))
            engine.timings.python_seconds += time.perf_counter() - began


def _obey(order: Order, engine: Batcher, pipe: Pipe) -> None:
    match order:
        case Job():
            try:
                engine.start(order)
                pipe.send(Deltas([Delta(job_id=order.id, prompt_total=len(order.tokens))]))  # taken
            except LocalLLMError as error:
                pipe.send(JobFault(order.id, ErrorReport.of(error)))
        case Cancel():
            engine.cancel(order.job_id)
        case Measure():
            timings = engine.timings
            pipe.send(Measurements(peak_memory_bytes(), timings.steps, timings.decode_seconds, timings.python_seconds))
