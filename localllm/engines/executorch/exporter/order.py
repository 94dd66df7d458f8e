"""What is to be exported, and what came of it."""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

OnStage = Callable[[str, float], None]  # what is being done, in words, and the share of all work that is done


class ExportOrder(Struct, frozen=True, kw_only=True):
    """A program to make."""

    sources: tuple[Path, ...]  # the GGUF files of one model, in order
    target: Path
    scheme: str  # a name of `schemes.py`
    delegate: str = "xnnpack"  # a name of `delegates/registry.py`
    context_tokens: int  # the most that the program holds: prompt and answer


class ProgramTensor(Struct, frozen=True, kw_only=True):
    """What became of one tensor."""

    name: str  # as in the GGUF file
    source_type: str  # likewise, such as Q8_0
    type: str  # int4, int8 or fp32
    elements: int  # 0 for the output where it is the embedding once more: they are counted there
    size_bytes: int  # with its scales


class Export(Struct, frozen=True, kw_only=True):
    """What came of it."""

    size_bytes: int  # of the file
    tensors: tuple[ProgramTensor, ...]
    delegated: int  # operations that the back end runs
    undelegated: int  # those that are left to ExecuTorch's portable kernels
    seconds: dict[str, float]  # by stage
    warnings: tuple[str, ...] = ()
