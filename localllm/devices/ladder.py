"""What to try when a model did not load: a step down at a time, each with what it gives up, until nothing is left."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from localllm.devices.fit import CONTEXT_STEP, MAX_AUTO_CONTEXT
from localllm.errors import LoadFailed, LoadKilled, LocalLLMError, ModelError, NoRoom, WorkerDied

LEAST_CONTEXT = 512  # no automatic context is made smaller than this
_REASON_CHARS = 200

Step = Literal["", "layers", "device", "jobs", "context", "model"]


class Attempt(Struct, frozen=True, kw_only=True):
    """A way to load a model. What a user chose is never given up; what was chosen for them is, a step at a time."""

    model: str  # its name; `smaller` are those of the same model in fewer bits, in the order to try
    devices: tuple[str, ...] = ()  # empty: the CPU
    gpu_layers: int = 0  # -1: all
    layers: int = 0  # that there are, the output counted in; 0: unknown, or the engine knows no part of a model
    is_device_free: bool = True  # nobody named one: the CPU may do
    context_tokens: int | None = None  # None: as the engine chooses
    is_context_free: bool = True  # nobody named one
    jobs: int | None = None
    are_jobs_free: bool = True
    smaller: tuple[str, ...] = ()  # models that the user allowed in its place
    step: Step = ""  # what was given up last; "model": the rest has to be planned anew for `model`
    sentence: str = ""  # the same in words, with the reason

    @property
    def is_on_cpu(self) -> bool:
        """Whether no other device has a part in it."""
        return all(name.lower().startswith("cpu") for name in self.devices)


def next_rung(attempt: Attempt, error: LocalLLMError) -> Attempt | None:
    """What to try after `attempt` failed with `error`; None: nothing that could cure it is left.

    Fewer layers on the GPU, then the CPU, then one answer at a time, then half the context, and so on down to
    LEAST_CONTEXT, then a smaller model.
    """
    if not is_curable(error, on_cpu=attempt.is_on_cpu):
        return None
    reason = _line(error)
    steps = (_fewer_layers, _cpu, _one_job, _less_context, _smaller_model)
    return next((rung for step in steps if (rung := step(attempt, reason)) is not None), None)


def is_curable(error: LocalLLMError, *, on_cpu: bool) -> bool:
    """Whether another way of loading the same model may go well: it did not fit, or its process was killed, as the
    system does where memory runs out. A device may refuse what the CPU takes; what the CPU refuses for another
    reason than room is wrong itself. All else (a file that is not there, damage, a package, a setting) stays."""
    if isinstance(error, NoRoom | WorkerDied | LoadKilled):
        return True
    return isinstance(error, LoadFailed) and not on_cpu


def given_up(attempts: Sequence[Attempt], error: LocalLLMError) -> LocalLLMError:
    """The error to raise in the end: the last one's, with all that was tried before."""
    sentences = [attempt.sentence for attempt in attempts if attempt.sentence]
    if not sentences:
        return error
    words = f"{error.message}; tried before: {'; '.join(sentences)}"
    if isinstance(error, ModelError):
        return type(error)(words, param=error.param)
    return NoRoom(words) if isinstance(error, WorkerDied) else error


def _fewer_layers(attempt: Attempt, reason: str) -> Attempt | None:
    if attempt.is_on_cpu or not attempt.layers:
        return None
    before = attempt.layers if attempt.gpu_layers < 0 else min(attempt.gpu_layers, attempt.layers)
    after = before // 2
    if after == 0:
        return None
    sentence = f"{_devices(attempt)} could not hold {before} of {attempt.layers} layers ({reason}); trying {after}"
    return msgspec.structs.replace(attempt, gpu_layers=after, step="layers", sentence=sentence)


def _cpu(attempt: Attempt, reason: str) -> Attempt | None:
    if attempt.is_on_cpu or not attempt.is_device_free:
        return None
    sentence = f"{_devices(attempt)} could not load it ({reason}); trying the CPU"
    return msgspec.structs.replace(_fresh(attempt), devices=(), gpu_layers=0, step="device", sentence=sentence)


def _one_job(attempt: Attempt, reason: str) -> Attempt | None:
    if not attempt.are_jobs_free or attempt.jobs == 1:
        return None
    before = f"{attempt.jobs} answers at once" if attempt.jobs else "several answers at once"
    sentence = f"no room for {before} ({reason}); trying one"
    return msgspec.structs.replace(attempt, jobs=1, step="jobs", sentence=sentence)


def _less_context(attempt: Attempt, reason: str) -> Attempt | None:
    if not attempt.is_context_free:
        return None
    before = attempt.context_tokens or MAX_AUTO_CONTEXT
    after = max(LEAST_CONTEXT, before // 2 // CONTEXT_STEP * CONTEXT_STEP)
    if after >= before:
        return None
    sentence = f"no room for {before} tokens of context ({reason}); trying {after}"
    return msgspec.structs.replace(attempt, context_tokens=after, step="context", sentence=sentence)


def _smaller_model(attempt: Attempt, reason: str) -> Attempt | None:
    if not attempt.smaller:
        return None
    name, *others = attempt.smaller
    return msgspec.structs.replace(
        _fresh(attempt),
        model=name,
        smaller=tuple(others),
        devices=(),
        gpu_layers=0,
        layers=0,
        step="model",
        sentence=f"{attempt.model} did not load ({reason}); trying {name}",
    )


def _fresh(attempt: Attempt) -> Attempt:
    """With context and jobs as the engine chooses them, where nobody named any."""
    return msgspec.structs.replace(
        attempt,
        context_tokens=None if attempt.is_context_free else attempt.context_tokens,
        jobs=None if attempt.are_jobs_free else attempt.jobs,
    )


def _devices(attempt: Attempt) -> str:
    return " and ".join(attempt.devices)


def _line(error: LocalLLMError) -> str:
    text = " ".join(error.message.split())
    return text if len(text) <= _REASON_CHARS else f"{text[: _REASON_CHARS - 1]}…"
