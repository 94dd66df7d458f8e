"""Leaving layers out: which tensors stay, and under which names (`remap_layer` in llama.cpp's src/llama-quant.cpp).

The layers that stay are numbered anew. llama.cpp sets the number of layers right, and nothing else: what a file says
of each layer, or of how many of the first or the last ones, would then be of others.
"""

import re
from collections.abc import Collection, Iterable

from localllm.errors import InvalidRequest
from localllm.models.gguf.metadata import ArrayInfo, Metadata

_LAYER = re.compile(r"blk\.(\d+)\.")  # found anywhere in a name
_COUNTS_OF_LAYERS = ("nextn_predict_layers", "leading_dense_block_count")
_PARAM = "prune_layers"


def new_names(names: Iterable[str], pruned: Collection[int]) -> dict[str, str]:
    """The new names of the tensors that stay, by their old ones."""
    if not pruned:
        return {name: name for name in names}
    found = {name: _LAYER.search(name) for name in names}
    layers = {int(match[1]) for match in found.values() if match}
    numbers = {layer: number for number, layer in enumerate(sorted(layers - set(pruned)))}
    return {
        name: name if match is None else f"{name[: match.start(1)]}{numbers[int(match[1])]}{name[match.end(1) :]}"
        for name, match in found.items()
        if match is None or int(match[1]) in numbers
    }


def check_layers(
    pruned: Collection[int], layers: int, architecture: str, metadata: Metadata, names: Iterable[str]
) -> None:
    """Raises InvalidRequest for layers that are not there, and for models that cannot do without some."""
    if not pruned:
        return
    if wrong := [layer for layer in pruned if not 0 <= layer < layers]:
        raise InvalidRequest(f"there is no layer {wrong[0]}; this model has {layers}, counted from 0", param=_PARAM)
    if len(set(pruned)) == layers:
        raise InvalidRequest(f"all {layers} layers are to be left out; name fewer", param=_PARAM)
    if keys := sorted(key for key in metadata if _is_of_layers(key, metadata[key], architecture, layers)):
        raise _cannot(f"its {keys[0]} is of each layer")
    found = {name: match for name in names if (match := _LAYER.search(name))}
    if any(match.start() for match in found.values()):
        raise _cannot("it has several rows of layers")
    if {int(match[1]) for match in found.values()} != set(range(layers)):
        raise _cannot(f"its tensors are not those of {layers} layers")


def _is_of_layers(key: str, value: object, architecture: str, layers: int) -> bool:
    field = key.removeprefix(f"{architecture}.")
    if field == key:
        return False
    if isinstance(value, ArrayInfo):
        return value.count == layers
    return field in _COUNTS_OF_LAYERS and bool(value)


def _cannot(why: str) -> InvalidRequest:
    return InvalidRequest(f"no layer of this model can be left out: {why}; quantize all of it", param=_PARAM)
