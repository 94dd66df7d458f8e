"""What a pipeline is: an engine that schedules and samples by itself. `inference/pipelined.py` makes it an Engine."""

from typing import Protocol

from msgspec import Struct

from localllm.engines.base import Tokenizer
from localllm.engines.job import Job
from localllm.types import ConstraintKind, FinishReason


class PipelineInfo(Struct, frozen=True, kw_only=True):
    """What a loaded pipeline is. `context_tokens` is for each job, `max_jobs` how many run at once."""

    engine: str
    build: str
    device: str
    context_tokens: int
    max_jobs: int
    threads: int
    load_seconds: float
    sampling: frozenset[
        str
    ]  # names of the `Sampling` fields that it honours; `stop` and `max_tokens` are seen to above
    constraints: frozenset[ConstraintKind] = frozenset()  # that it holds an answer to by itself


class Emission(Struct, frozen=True, kw_only=True):
    """What came for one job: token ids, or text where the pipeline keeps its tokens to itself."""

    job_id: int
    tokens: tuple[int, ...] = ()  # of the answer, without a token that ends it
    logprobs: tuple[float, ...] = ()  # natural, of each of `tokens`; empty where none were wanted
    text: str = ""  # whole characters; only where `tokens` is empty
    text_tokens: int = 0  # that `text` is made of
    cached_tokens: int = 0  # of the prompt that were not computed again, as far as it is told
    finish: FinishReason | None = None  # "length": as many tokens as were wanted, or as the context holds


class Pipeline(Protocol):
    """Jobs in, tokens out. Owned by one thread. Every job it is given was checked against its info."""

    @property
    def info(self) -> PipelineInfo:
        """What was loaded."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own."""
        ...

    def start(self, job: Job, max_tokens: int) -> None:
        """Take a job, of which no more than `info.max_jobs` run at once; its answer has up to `max_tokens`.

        Raises InvalidRequest, such as for a grammar that its compiler refuses, and then has not taken it.
        """
        ...

    def step(self) -> list[Emission]:
        """Go on with every job by about a token. May wait for one, but for no more than a fraction of a second.

        Raises EngineError: the pipeline is then unusable.
        """
        ...

    def cancel(self, job_id: int) -> None:
        """Forget a job; idempotent. Nothing comes for it any more."""
        ...

    def close(self) -> None:
        """Free everything; idempotent."""
        ...
