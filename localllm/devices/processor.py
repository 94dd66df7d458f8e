"""A processor that an engine can compute on, as the rules for choosing one see it."""

from typing import Literal

from msgspec import Struct

ProcessorKind = Literal["cpu", "gpu", "igpu", "npu"]  # igpu: a GPU without memory of its own


class Processor(Struct, frozen=True, kw_only=True):
    """Its name is the engine's, such as CUDA0, GPU.0 or cpu."""

    name: str
    kind: ProcessorKind
    description: str = ""  # as it calls itself
    free_bytes: int | None = None  # of its own memory, or of what it shares; None: not told
    total_bytes: int | None = None

    @property
    def is_gpu(self) -> bool:
        """Whether it is one, with memory of its own or without."""
        return self.kind in ("gpu", "igpu")

    @property
    def words(self) -> str:
        """Its name, and what it calls itself."""
        return f"{self.name} ({self.description})" if self.description else self.name
