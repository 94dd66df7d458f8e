"""What an engine is asked, and what it says."""

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from localllm.types import AdapterUse, Client, Constraint, FinishReason, Sampling, TokenLogprob, Usage

if TYPE_CHECKING:  # the server's own process imports this module and does without numpy
    import numpy as np
    from numpy.typing import NDArray


class TokenConstraint(Protocol):
    """A grammar at a point of an answer: which tokens may come next."""

    def mask(self, logits: "NDArray[np.float32]") -> None:
        """Set the logits [vocab_size] of tokens that may not come next to -inf, in place."""
        ...

    def accept(self, token: int) -> None:
        """Move past a token that may come next. Raises EngineError for one that may not."""
        ...

    def forced(self) -> list[int]:
        """Tokens that must come next whatever the logits say; often none."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether the text is whole and nothing may follow."""
        ...


class Job(Struct, frozen=True, kw_only=True):
    """A prompt to continue. `sampling` holds concrete values; `id` is unique among running jobs."""

    id: int
    tokens: tuple[int, ...]
    sampling: Sampling
    constraint: TokenConstraint | None = None  # of this job alone: it moves with the answer
    wanted: Constraint | None = None  # the same as it was asked for, where the engine holds the answer to it by itself
    adapters: tuple[AdapterUse, ...] = ()
    client: Client = Client()

    @property
    def is_batch(self) -> bool:
        """Whether it waits for, and gives way to, whoever sits and waits."""
        return self.client.priority == "batch"


class Delta(Struct, frozen=True, kw_only=True, array_like=True, omit_defaults=True):
    """What one step brought one job. `text` is whole characters; `usage` comes with `finish`."""

    job_id: int
    text: str = ""
    finish: FinishReason | None = None
    usage: Usage | None = None
    prompt_done: int = 0  # tokens of the prompt read so far; 0 says nothing new
    prompt_total: int = 0
    queue_position: int = 0  # 1 is the next to get a slot; 0 says nothing new
    logprobs: tuple[TokenLogprob, ...] = ()
