"""The attention of a model, as far as it says how much memory a token's keys and values take."""

from msgspec import Struct

from localllm.models.gguf.cursor import damaged
from localllm.models.gguf.fields import Fields
from localllm.models.gguf.window import window_tokens, windowed_layers


class Attention(Struct, frozen=True, kw_only=True):
    """Heads, and how far they look back; 0 where the file says nothing."""

    heads: int  # of the first layer that has any
    kv_heads: tuple[int, ...]  # of each layer; 0 where a layer keeps no KV
    key_length: int  # numbers in the key of one head
    value_length: int
    sliding_window: int  # tokens
    windowed_layers: tuple[bool, ...]  # of each layer: whether it sees no further than the window

    @property
    def kv_values(self) -> int:
        """Numbers in the keys and values of one token, in all layers together."""
        return sum(self.kv_heads) * (self.key_length + self.value_length)


def attention_of(fields: Fields, architecture: str, layers: int, width: int) -> Attention:
    """The attention of a model of `layers` and embeddings of `width`. Raises LoadFailed, naming the key at fault."""
    prefix = f"{architecture}.attention"
    of_layers = _each_layer(fields, f"{prefix}.head_count", layers) or (0,) * layers
    heads = next((count for count in of_layers if count), 0)
    usual_length = width // heads if heads else 0
    key_length = fields.count(f"{prefix}.key_length")
    value_length = fields.count(f"{prefix}.value_length")
    window = window_tokens(architecture, fields.count(f"{prefix}.sliding_window"))
    pattern = fields.counts(f"{prefix}.sliding_window_pattern")
    return Attention(
        heads=heads,
        kv_heads=_each_layer(fields, f"{prefix}.head_count_kv", layers) or of_layers,
        key_length=usual_length if key_length is None else key_length,
        value_length=usual_length if value_length is None else value_length,
        sliding_window=window,
        windowed_layers=windowed_layers(architecture, layers, window, pattern),
    )


def _each_layer(fields: Fields, key: str, layers: int) -> tuple[int, ...] | None:
    """One number for each layer; the file may state the same for all at once. None: it states none."""
    counts = fields.counts(key)
    if counts is None or isinstance(counts, int):
        return None if counts is None else (counts,) * layers
    if len(counts) != layers:
        raise damaged(f"{key} tells of {len(counts)} layers, there are {layers}")
    return counts
