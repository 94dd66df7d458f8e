"""What an export takes, told from the headers before anything starts."""

from collections.abc import Sequence

from localllm.engines.executorch.exporter.layout import layout_of
from localllm.engines.executorch.exporter.schemes import Scheme
from localllm.engines.executorch.exporter.shape import Shape, shape_of
from localllm.engines.executorch.exporter.tensors import elements_of
from localllm.errors import NoRoom
from localllm.models.gguf.header import GgufHeader
from localllm.units import size_words

# Measured on Linux with torch 2.13, ExecuTorch 1.5.1 and 2 to 30 layers; rounded up.
_LIBRARIES_BYTES = 480_000_000
_LAYER_BYTES = 60_000_000  # graphs, whatever the width
_READ_BYTES = 4  # a weight, as float32
_FITTED_BYTES = 20  # a weight of the largest matrix, while scales are fitted to it
_LOWERED_BYTES = 4  # for each byte that a weight has in the graph: it, its packed form and the program
_KV_BYTES = 4


def needed_bytes(headers: Sequence[GgufHeader], scheme: Scheme, context_tokens: int) -> int:
    """The peak of an export's process. Raises LoadFailed where the model cannot be exported at all."""
    shape = shape_of(headers)
    layout = layout_of(shape)
    read = {(place.source, place.factor): elements_of(place) for place in layout}
    rounding = _READ_BYTES * sum(read.values()) + _FITTED_BYTES * max(read.values())
    graph_bytes = 1 if scheme.linear_bits <= 8 else 4  # 4-bit weights are bytes until they are packed
    lowering = _LOWERED_BYTES * graph_bytes * sum(map(elements_of, layout))
    return _LIBRARIES_BYTES + shape.layers * _LAYER_BYTES + max(rounding, lowering) + _of_context(shape, context_tokens)


def check_memory(headers: Sequence[GgufHeader], scheme: Scheme, context_tokens: int, available_bytes: int) -> None:
    """Raises NoRoom where less is available than an export takes, LoadFailed as `needed_bytes`."""
    needed = needed_bytes(headers, scheme, context_tokens)
    if needed > available_bytes:
        raise NoRoom(
            f"exporting this model takes about {size_words(needed)} of memory, and {size_words(available_bytes)} are "
            "available; close other programs, take a shorter --context, or export on a larger machine"
        )


def _of_context(shape: Shape, tokens: int) -> int:
    """Keys and values of all layers, cos and sin, and the causal mask."""
    return tokens * (2 * _KV_BYTES * (shape.kv_width * shape.layers + shape.head_width) + tokens)
