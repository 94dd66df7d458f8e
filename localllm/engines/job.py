"""What an engine is asked, and what it says."""

from msgspec import Struct

from localllm.types import FinishReason, Sampling, Usage


class Job(Struct, frozen=True, kw_only=True):
    """A prompt to continue. `sampling` holds concrete values; `id` is unique among running jobs."""

    id: int
    tokens: tuple[int, ...]
    sampling: Sampling


class Delta(Struct, frozen=True, kw_only=True, array_like=True, omit_defaults=True):
    """What one step brought one job. `text` is whole characters; `usage` comes with `finish`."""

    job_id: int
    text: str = ""
    finish: FinishReason | None = None
    usage: Usage | None = None
    prompt_done: int = 0  # tokens of the prompt read so far; 0 says nothing new
    prompt_total: int = 0
