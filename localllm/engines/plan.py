"""What to load."""

from msgspec import Struct


class LoadPlan(Struct, frozen=True, kw_only=True):
    """What to load and how. None leaves the choice to the engine, made from the model and this machine."""

    engine: str
    path: str
    context_tokens: int | None = None
    max_jobs: int | None = None
    threads: int | None = None
    flash_attention: bool | None = None
