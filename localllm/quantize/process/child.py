"""The child's side of a step: one step comes in, progress and one result or fault go out.

When the parent goes, stdin ends and the process exits at once, whatever the native library is doing.
"""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable

import msgspec

from localllm.errors import EngineError, LocalLLMError
from localllm.quantize.steps import (
    AskBuild,
    Build,
    Calibrate,
    Compare,
    Convert,
    ExportProgram,
    Fault,
    MakeMlc,
    MeasureSpeed,
    Progress,
    Quantize,
    Result,
    ScoreBase,
    Step,
)
from localllm.worker.frames import Outlet, messages
from localllm.worker.messages import ErrorReport

REPORT_SECONDS = 0.05  # between two reports: a screen shows no more


def main() -> None:
    """Do the one step that comes over stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    outlet = Outlet()
    steps: queue.SimpleQueue[Step] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(steps,), daemon=True).start()
    step = steps.get()
    try:
        outlet.send(perform(step, _sparing(outlet)))
    except LocalLLMError as error:
        outlet.send(Fault(ErrorReport.of(error)))
    except MemoryError:
        outlet.send(Fault(ErrorReport.of(EngineError("there is not enough memory for this; close other programs"))))
    os._exit(0)  # stdin is still being read


def perform(step: Step, report: Callable[[Progress], None]) -> Result:  # noqa: PLR0911  one for each kind of step
    """Do a step, in this process. Raises LocalLLMError."""
    match step:
        case AskBuild():
            from localllm.engines.llama_cpp import build

            return Build(commit=build.COMMIT, system_info=build.system_info())
        case Convert():
            from localllm.quantize.converting import convert

            return convert(step, report)
        case Quantize():
            from localllm.quantize.quantizing import quantize

            return quantize(step, report)
        case ExportProgram():
            from localllm.quantize.exporting import export_program

            return export_program(step, report)
        case MakeMlc():
            from localllm.quantize.mlc_step import make_mlc

            return make_mlc(step, report)
        case Calibrate():
            from localllm.quantize.calibration.calibrating import calibrate

            return calibrate(step, report)
        case ScoreBase():
            from localllm.quantize.quality.base import score_base

            return score_base(step, report)
        case Compare():
            from localllm.quantize.quality.comparison import compare

            return compare(step, report)
        case MeasureSpeed():
            from localllm.quantize.quality.speed import measure_speed

            return measure_speed(step, report)


def _read(steps: "queue.SimpleQueue[Step]") -> None:
    for step in messages(0, msgspec.msgpack.Decoder(Step)):
        steps.put(step)
    os._exit(0)


def _sparing(outlet: Outlet) -> Callable[[Progress], None]:
    """Sends the first, the last, and no more between than can be seen."""
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.done >= progress.total or now - last >= REPORT_SECONDS:
            last = now
            outlet.send(progress)

    return report
