"""A GGUF file that is to be quantized: whole, or in several parts, checked before anything native reads it."""

from pathlib import Path

from msgspec import Struct

from localllm.engines.llama_cpp.quantizer.file import read_pairs
from localllm.engines.llama_cpp.quantizer.limits import check_model
from localllm.engines.llama_cpp.quantizer.order import OUTPUT
from localllm.errors import LoadFailed
from localllm.models.gguf.facts import ModelFacts, facts_of
from localllm.models.gguf.fields import Fields
from localllm.models.gguf.header import GgufHeader, read_header
from localllm.models.gguf.tensors import TensorInfo
from localllm.models.on_disk import parts_of, unreadable

_UINT16 = bytes([2, 0, 0, 0])  # gguf_metadata_value_type
_SPLIT_NUMBER = "split.no"


class Source(Struct, frozen=True, kw_only=True):
    """A model whose headers are right."""

    parts: tuple[Path, ...]
    header: GgufHeader  # of the first part, which says what the model is
    facts: ModelFacts
    tensors: dict[str, TensorInfo]  # of all parts
    places: dict[str, tuple[Path, int]]  # of each tensor, the file and where in it the data begin

    @property
    def is_tied(self) -> bool:
        """Whether the embedding is the output too."""
        return OUTPUT not in self.tensors


def read_source(path: Path) -> Source:
    """The model in a file, or in it and its other parts. Raises ModelNotFound where one is missing, LoadFailed."""
    try:
        parts = parts_of(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    headers = [read_header(part) for part in parts]
    try:
        facts = facts_of(headers)
        check_model(facts, Fields(headers[0].metadata).text(f"{facts.architecture}.rope.scaling.type"))
    except LoadFailed as error:
        raise LoadFailed(f"{path}: {error.message}") from error
    if facts.split_count != len(parts):
        raise LoadFailed(
            f"{path} is one of {facts.split_count} files of a model; put all of them into one folder, under their "
            f"names: …-00001-of-{facts.split_count:05d}.gguf"
        )
    for part, header in zip(parts[1:], headers[1:], strict=True):
        _check_number(part, header)
    return Source(
        parts=tuple(parts),
        header=headers[0],
        facts=facts,
        tensors={tensor.name: tensor for header in headers for tensor in header.tensors},
        places={
            tensor.name: (part, header.data_offset + tensor.offset)
            for part, header in zip(parts, headers, strict=True)
            for tensor in header.tensors
        },
    )


def _check_number(part: Path, header: GgufHeader) -> None:
    """llama.cpp asserts that the number of a later part is a uint16."""
    pair = read_pairs(part, header)[_SPLIT_NUMBER]
    if pair[8 + len(_SPLIT_NUMBER) :][:4] != _UINT16:
        raise LoadFailed(f"{part} is damaged or made wrongly: its {_SPLIT_NUMBER} is not a uint16; get it again")
