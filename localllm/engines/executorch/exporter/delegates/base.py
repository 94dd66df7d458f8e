"""What a back end does with a model."""

from typing import TYPE_CHECKING, Protocol

from localllm.engines.executorch.exporter.schemes import Scheme

if TYPE_CHECKING:
    from executorch.extension.llm.export.builder import LLMEdgeManager
    from torch import nn


class Delegate(Protocol):
    """A back end that parts of a program are handed to. None of its libraries is imported before it is asked."""

    name: str
    words: str  # what hardware it is for
    schemes: tuple[str, ...]  # names of `schemes.py` that it can be lowered with, the usual one first
    is_dynamic: bool  # whether a call takes any number of tokens; else it takes exactly one
    warning: str  # what is not known of programs for it; "" where they were run

    def missing(self) -> str:
        """Why nothing can be exported for it here, and what would change that; "" where it can."""
        ...

    def prepare(self, model: "nn.Module") -> "nn.Module":
        """Put attention and KV cache into the form that the back end knows."""
        ...

    def quantize(self, model: "nn.Module", scheme: Scheme) -> "nn.Module":
        """Round the weights, in place or in a copy."""
        ...

    def lower(self, manager: "LLMEdgeManager") -> "LLMEdgeManager":
        """From the exported graph to a program. Raises EngineError."""
        ...
