"""Sliding windows: layers that look back so many tokens and no further.

Most graphs of llama.cpp have none. Up to the window's length that makes no difference, so there the context of the
GGUF ends with it.
"""

from typing import Literal

from localllm.convert.config import Config
from localllm.convert.families.dimensions import Dimensions
from localllm.convert.families.refusal import refusal

# Where a class of transformers has windows: nowhere; wherever sliding_window is set; unless that is null, since a
# missing one is 4096 (MistralConfig); by use_sliding_window in the layers from max_window_layers on (qwen), or in some
# (smollm3). "own": llama.cpp's graph has them too.
Windows = Literal["none", "set", "unless_null", "later_layers", "some_layers", "own"]

_FULL, _SLIDING = "full_attention", "sliding_attention"
_DEFAULT_WINDOW = 4096  # of all these classes
_DEFAULT_FIRST_LAYER = 28  # max_window_layers


def check_layer_types(config: Config, dimensions: Dimensions, architecture: str) -> None:
    """Refuse layers that are no plain attention, such as linear attention."""
    if not config.has("layer_types"):
        return
    types = config.texts("layer_types")
    strange = sorted(set(types) - {_FULL, _SLIDING})
    if strange:
        raise refusal(architecture, f"layer_types names {strange[0][:40]!r}")
    if len(types) != dimensions.layers:
        raise refusal(architecture, f"layer_types tells of {len(types)} layers, there are {dimensions.layers}")


def context_of(config: Config, dimensions: Dimensions, windows: Windows) -> int:
    """Tokens up to which a graph without windows is right."""
    if not _has_windows(config, dimensions, windows):
        return dimensions.positions
    return min(dimensions.positions, config.count("sliding_window", _DEFAULT_WINDOW))


def _has_windows(config: Config, dimensions: Dimensions, windows: Windows) -> bool:
    if windows in {"none", "own"}:
        return False
    if windows == "set":
        return config.has("sliding_window")
    if windows == "unless_null":
        return not config.is_null("sliding_window")
    if config.has("layer_types"):
        return _SLIDING in config.texts("layer_types")
    if not config.flag("use_sliding_window", False):
        return False
    return windows == "some_layers" or config.number("max_window_layers", _DEFAULT_FIRST_LAYER) < dimensions.layers


def window_period(config: Config, dimensions: Dimensions, architecture: str, default: int) -> int:
    """Of every so many layers the last one sees all, the others the window (llama.cpp's `set_swa_pattern`).

    More than there are layers: all have the window. Raises LoadFailed where layers follow no such rule.
    """
    declared = config.count("sliding_window_pattern", default)
    if not config.has("layer_types"):
        return declared
    types = config.texts("layer_types")
    periods: list[int] = [default, declared, *range(1, dimensions.layers + 2)]  # several may fit few layers
    for period in periods:
        if types == _types_of(period, dimensions.layers):
            return period
    raise refusal(architecture, "layer_types follow no regular pattern")


def _types_of(period: int, layers: int) -> list[str]:
    return [_SLIDING if layer % period < period - 1 else _FULL for layer in range(layers)]
