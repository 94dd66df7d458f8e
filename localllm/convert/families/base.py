"""What an architecture family is: a table from the tensors of a checkpoint to those of a GGUF file."""

from collections.abc import Callable, Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from localllm.convert.config import Config

MetadataValue = bool | int | float | str  # as GGUF bool, uint32, float32, string


class TensorRule(Struct, frozen=True, kw_only=True):
    """One tensor of a checkpoint and what becomes of it."""

    source: str  # its name in the checkpoint
    target: str  # its name in the GGUF file (gguf/constants.py, TENSOR_NAMES)
    shape: tuple[int, ...]  # that it must have in the checkpoint, rows first
    paired_heads: int = 0  # not 0: the rows of so many heads go from halves (Hugging Face) to pairs (ggml rope)
    added: float = 0.0  # to every value
    is_optional: bool = False  # a checkpoint may do without


class MadeTensor(Struct, frozen=True, kw_only=True):
    """A tensor that a GGUF file has and no checkpoint."""

    target: str
    values: NDArray[np.float32]


class Layout(Struct, frozen=True, kw_only=True):
    """What becomes of one checkpoint: metadata by key (whole keys, such as llama.block_count) and tensors, in order."""

    metadata: Mapping[str, MetadataValue]
    tensors: tuple[TensorRule, ...]
    made: tuple[MadeTensor, ...] = ()
    vocabulary: int  # rows of the embedding
    dropped: tuple[str, ...] = ()  # beginnings of names of tensors that are left out: encoders of images and such
    renamed: Mapping[str, str] = {}  # beginnings of names, and what the rules have in their place

    def source(self, name: str) -> str:
        """What the rules call the tensor that the checkpoint calls `name`; `dropped` is about the checkpoint's name.

        A model of text inside one of images has had several prefixes over the versions of transformers.
        """
        for old, new in self.renamed.items():
            if name.startswith(old):
                return new + name[len(old) :]
        return name


class Family(Struct, frozen=True, kw_only=True):
    """An architecture of llama.cpp and the classes of transformers that are of it."""

    architecture: str  # general.architecture
    classes: tuple[str, ...]
    layout: Callable[[Config], Layout]  # raises LoadFailed for what this family does not do
