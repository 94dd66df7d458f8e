"""What becomes of each tensor of a GGUF file in a program."""

import math
from collections.abc import Sequence

from localllm.engines.executorch.exporter.layout import EMBEDDING, OUTPUT, Place, layout_of
from localllm.engines.executorch.exporter.order import ProgramTensor
from localllm.engines.executorch.exporter.schemes import Scheme
from localllm.engines.executorch.exporter.shape import Shape
from localllm.models.gguf.header import GgufHeader

_TYPES = {4: "int4", 8: "int8", 16: "fp16", 32: "fp32"}
_ROW_SCALE_BYTES = 4  # float32, one a row
_GROUP_SCALE_BYTES = 2  # bfloat16, as XNNPACK stores those of groups


def program_tensors(headers: Sequence[GgufHeader], shape: Shape, scheme: Scheme) -> tuple[ProgramTensor, ...]:
    """All of them, in the order of the model.

    An embedding that is the output as well is stored twice; the second one, by the name of the output, has no elements
    of its own.
    """
    types = {tensor.name: tensor.type_name for header in headers for tensor in header.tensors}
    found = []
    for place in layout_of(shape):
        is_copy = shape.is_tied and place.target == OUTPUT
        elements = elements_of(place)
        bits = _bits(place, scheme)
        found.append(
            ProgramTensor(
                name=OUTPUT if is_copy else place.source,
                source_type=types[place.source],
                type=_TYPES[bits],
                elements=0 if is_copy else elements,
                size_bytes=elements * bits // 8 + _scale_bytes(place, scheme, bits),
            )
        )
    return tuple(found)


def elements_of(place: Place) -> int:
    """How many numbers are there."""
    return math.prod(place.shape)


def _bits(place: Place, scheme: Scheme) -> int:
    if len(place.shape) == 1:
        return 32  # norms and biases
    if place.target == OUTPUT:
        return scheme.output_bits
    return scheme.embedding_bits if place.source == EMBEDDING else scheme.linear_bits


def _scale_bytes(place: Place, scheme: Scheme, bits: int) -> int:
    if bits >= 16:
        return 0
    if bits == 4 and scheme.group_size:
        return elements_of(place) // scheme.group_size * _GROUP_SCALE_BYTES
    return place.shape[0] * _ROW_SCALE_BYTES
