"""All traffic between the parent and a worker, in frames (`frames.py`)."""

from msgspec import Struct

from localllm.engines.job import Delta
from localllm.engines.plan import LoadPlan
from localllm.errors import LocalLLMError, from_code
from localllm.types import (
    ChatRequest,
    Embeddings,
    EmbedRequest,
    EngineInfo,
    Measurements,
    Sampling,
    TextRequest,
)


class ErrorReport(Struct, frozen=True):
    """An error on its way to the other side."""

    code: str
    message: str
    param: str | None = None
    retry_seconds: float | None = None

    @classmethod
    def of(cls, error: LocalLLMError) -> "ErrorReport":
        """The report of an error."""
        return cls(error.code, error.message, error.param, error.retry_seconds)

    def rebuild(self) -> LocalLLMError:
        """The error again."""
        return from_code(self.code, self.message, self.param, self.retry_seconds)


class Load(Struct, frozen=True, tag=True):
    """To the worker, first and once: load this."""

    plan: LoadPlan


class Submit(Struct, frozen=True, tag=True):
    """To the worker: answer this. `sampling` is complete; the choice inside `request` has been merged."""

    job_id: int
    request: ChatRequest | TextRequest
    sampling: Sampling


class Embed(Struct, frozen=True, tag=True):
    """To the worker: answer this with vectors."""

    job_id: int
    request: EmbedRequest


class Cancel(Struct, frozen=True, tag=True):
    """To the worker: forget a job; no delta of it is needed any more."""

    job_id: int


class Measure(Struct, frozen=True, tag=True):
    """To the worker: send Measurements."""


class Leave(Struct, frozen=True, tag=True):
    """To the worker, last: drop every job, put away what is worth keeping, and exit."""


class Loading(Struct, frozen=True, tag=True):
    """From the worker: so far (0 to 1) the model is loaded."""

    fraction: float


class Ready(Struct, frozen=True, tag=True):
    """From the worker: loaded."""

    info: EngineInfo


class LoadFault(Struct, frozen=True, tag=True):
    """From the worker, last: the model cannot be loaded."""

    error: ErrorReport


class Deltas(Struct, frozen=True, tag=True):
    """From the worker: what one step brought."""

    deltas: list[Delta]


class Embedded(Struct, frozen=True, tag=True):
    """From the worker: the vectors of a job, which is over."""

    job_id: int
    embeddings: Embeddings


class JobFault(Struct, frozen=True, tag=True):
    """From the worker: this job cannot be done; it is over."""

    job_id: int
    error: ErrorReport


class EngineFault(Struct, frozen=True, tag=True):
    """From the worker, last: the engine failed and the process ends."""

    error: ErrorReport


ToWorker = Load | Submit | Embed | Cancel | Measure | Leave
FromWorker = Loading | Ready | LoadFault | Deltas | Embedded | JobFault | EngineFault | Measurements
