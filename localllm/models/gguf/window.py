"""Which layers of a model look back only a window's length: their KV stays small (llama.cpp's src/models/*.cpp).

What is not known for sure counts as full attention, so that an estimate of memory is never too low.
"""

from collections.abc import Sequence

# Of every so many layers the last one sees all (llama.cpp's `set_swa_pattern`); the file may name another number.
_PERIODS = {
    "afmoe": 4,
    "cohere2": 4,
    "exaone4": 4,
    "gemma-embedding": 6,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo2": 4,
    "plamo3": 8,
}
_DEFAULT_WINDOWS = {"gemma2": 4096, "llama4": 8192}
_NAMED_LAYERS = {"gemma4", "mimo2", "step35"}  # their files say it of each layer
_EXAONE4_LAYERS = 64  # only the model of this size has windows


def window_tokens(architecture: str, stated: int | None) -> int:
    """The window in tokens; 0 where there is none. `stated` is what the file says."""
    return _DEFAULT_WINDOWS.get(architecture, 0) if stated is None else stated


def windowed_layers(
    architecture: str, layers: int, tokens: int, pattern: int | Sequence[int] | None
) -> tuple[bool, ...]:
    """For each layer, whether it has the window of `tokens`. `pattern` is the file's `sliding_window_pattern`."""
    none = (False,) * layers
    if tokens == 0 or (architecture == "exaone4" and layers != _EXAONE4_LAYERS):
        return none
    if architecture in _NAMED_LAYERS and isinstance(pattern, Sequence):
        return tuple(map(bool, pattern)) if len(pattern) == layers else none
    if architecture not in _PERIODS:
        return none
    period = pattern if isinstance(pattern, int) else _PERIODS[architecture]
    return tuple(period == 0 or layer % period < period - 1 for layer in range(layers))
