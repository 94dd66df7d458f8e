"""What to expect of a model on this machine, from the headers of its files alone, downloaded or not."""

import platform
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct

from localllm.devices.cpu import available_memory_bytes
from localllm.devices.footprint import KvType, ModelShape, repacked_types
from localllm.devices.forecast import Forecast, forecast
from localllm.errors import DownloadFailed, LoadFailed
from localllm.models.card import HubSource
from localllm.models.gguf.cursor import Truncated
from localllm.models.gguf.facts import ModelFacts, facts_of
from localllm.models.gguf.header import GgufHeader, parse_header, read_header
from localllm.models.gguf.tensors import TensorInfo
from localllm.models.local import LocalModel
from localllm.models.pte.header import ProgramFacts, parse_program
from localllm.models.quant import bits_per_weight

if TYPE_CHECKING:
    from localllm.models.wanted import Wanted

Header = TypeVar("Header")

FIRST_BYTES = 2**20  # the header of a model with 32,000 tokens; one with 250,000 has it in
_GROWTH = 8  # times that
ENGINE, DEVICE = "llama_cpp", "cpu"
_LAYER = re.compile(r"blk\.(\d+)\.")


class Outlook(Struct, frozen=True, kw_only=True):
    """A model, and what running it takes."""

    engine: str
    device: str
    facts: ModelFacts
    shape: ModelShape
    forecast: Forecast  # on the CPU


def outlook_of(
    headers: Sequence[GgufHeader], *, size_bytes: int, context: int | None = None, jobs: int | None = None
) -> Outlook:
    """What to expect of a model whose files have these headers, in order, or whose first one has the only one.

    `size_bytes` is of all its files. Raises LoadFailed for headers that are not of one model.
    """
    facts = facts_of(headers)
    shape = shape_of(facts, headers, size_bytes)
    return Outlook(
        engine=ENGINE, device=DEVICE, facts=facts, shape=shape, forecast=_forecast(shape, context, jobs, "f16")
    )


def with_kv_type(outlook: Outlook, kv_type: KvType, *, context: int | None, jobs: int | None) -> Outlook:
    """The same with keys and values kept otherwise."""
    return msgspec.structs.replace(outlook, forecast=_forecast(outlook.shape, context, jobs, kv_type))


def shape_of(facts: ModelFacts, headers: Sequence[GgufHeader], size_bytes: int) -> ModelShape:
    """The numbers that memory and speed follow from."""
    tensors = [tensor for header in headers for tensor in header.tensors]
    attention = facts.attention
    is_whole = len(headers) == facts.split_count
    bits = facts.bits_per_weight or bits_per_weight(facts.quant)  # a split model's first part may hold no weights
    return ModelShape(
        weights_bytes=facts.weights_bytes if is_whole else size_bytes,
        parameters=facts.parameters if is_whole else int(size_bytes * 8 / bits),
        layers=facts.layers,
        embedding_width=facts.embedding_width,
        feed_forward_width=facts.feed_forward_width,
        heads=attention.heads,
        kv_heads=attention.kv_heads,
        key_length=attention.key_length,
        value_length=attention.value_length,
        vocabulary=facts.vocabulary,
        context_tokens=facts.context_tokens,
        sliding_window=attention.sliding_window,
        sliding_layers=sum(attention.windowed_layers),
        experts=facts.experts,
        experts_used=facts.experts_used,
        expert_bytes=sum(tensor.size_bytes for tensor in tensors if "_exps." in tensor.name) if is_whole else 0,
        lookup_bytes=_lookup_bytes(tensors),
        repacked_bytes=_repacked_bytes(tensors),
        layer_bytes=_layer_bytes(tensors, facts.layers) if is_whole else (),
        output_bytes=_output_bytes(tensors),
    )


def headers_of(model: LocalModel) -> list[GgufHeader]:
    """Of the files of a model on this disk. Raises LoadFailed."""
    if model.engine != ENGINE:
        raise LoadFailed(f"{model.id} is no GGUF model; what it needs is not known before it is loaded")
    return [read_header(Path(path)) for path in model.parts or (model.path,)]


def header_on_hub(wanted: "Wanted", *, offline: bool) -> GgufHeader:
    """Of the first file of a model, of which nothing else is fetched. Raises DownloadFailed, LoadFailed."""
    if wanted.format != "gguf":
        raise LoadFailed(f"{wanted.name} has no GGUF file on the hub; what it needs is not known before it is pulled")
    return _on_hub(wanted, parse_header, offline=offline)


def program_on_hub(wanted: "Wanted", *, offline: bool) -> ProgramFacts:
    """What a program says of itself, of which nothing else is fetched. Raises DownloadFailed, LoadFailed."""
    return _on_hub(wanted, parse_program, offline=offline)


def _on_hub(wanted: "Wanted", parse: Callable[[bytes, int], Header], *, offline: bool) -> Header:
    """What the beginning of a model's first file says, by a function that raises Truncated for more of it."""
    from localllm.models.hub.address import locate
    from localllm.models.hub.peek import MOST_BYTES, read_beginning

    file = wanted.files[0]
    source = next((source for source in file.sources if isinstance(source, HubSource)), None)
    if source is None:
        raise LoadFailed(f"{wanted.name} is not on the hub; what it needs is not known before it is pulled")
    location = locate(source, file.expected, offline=offline)
    size_bytes = file.expected.size_bytes
    wanted_bytes = min(FIRST_BYTES, size_bytes)
    while True:
        data = read_beginning(location, wanted_bytes, offline=offline)
        if len(data) < wanted_bytes:
            raise DownloadFailed(f"the hub breaks off in the header of {wanted.name}; try again later")
        try:
            return parse(data, size_bytes)
        except LoadFailed as error:
            raise LoadFailed(f"{wanted.name}: {error.message}") from error
        except Truncated as truncated:
            if truncated.wanted_bytes > MOST_BYTES:
                raise LoadFailed(f"the header of {wanted.name} is longer than {MOST_BYTES >> 20} MiB") from None
            wanted_bytes = min(max(truncated.wanted_bytes, _GROWTH * wanted_bytes), MOST_BYTES, size_bytes)


def _lookup_bytes(tensors: Sequence[TensorInfo]) -> int:
    """Embeddings of which a token reads a row, where the output has a matrix of its own."""
    by_name = {tensor.name: tensor.size_bytes for tensor in tensors}
    return by_name.get("token_embd.weight", 0) if "output.weight" in by_name else 0


def _layer_bytes(tensors: Sequence[TensorInfo], layers: int) -> tuple[int, ...]:
    """Of each layer; empty where the file numbers none."""
    sizes = [0] * layers
    for tensor in tensors:
        match = _LAYER.match(tensor.name)
        if match and int(match[1]) < layers:
            sizes[int(match[1])] += tensor.size_bytes
    return tuple(sizes) if any(sizes) else ()


def _output_bytes(tensors: Sequence[TensorInfo]) -> int:
    """What computes the logits: a matrix of its own, or the embeddings once more (llama.cpp's TENSOR_DUPLICATED)."""
    by_name = {tensor.name: tensor.size_bytes for tensor in tensors}
    matrix = by_name.get("output.weight", by_name.get("token_embd.weight", 0))
    return matrix + by_name.get("output_norm.weight", 0)


def _repacked_bytes(tensors: Sequence[TensorInfo]) -> int:
    """What the processor's kernels want in another order, and so keep a copy of."""
    types = repacked_types(platform.machine())
    return sum(
        tensor.size_bytes for tensor in tensors if tensor.type_name in types and tensor.name != "token_embd.weight"
    )


def _forecast(shape: ModelShape, context: int | None, jobs: int | None, kv_type: KvType) -> Forecast:
    return forecast(
        shape,
        available_bytes=available_memory_bytes(),
        context=context,
        jobs=jobs,
        bandwidth=_bandwidth,
        kv_type=kv_type,
    )


def _bandwidth() -> float:
    from localllm.devices.bandwidth import memory_bandwidth  # numpy takes longer to import than the rest together

    return memory_bandwidth()
