"""The dimensions of a decoder: what config.json says of widths, heads and layers."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from localllm.convert.config import Config
from localllm.convert.families.base import MetadataValue
from localllm.convert.families.positive import positive
from localllm.errors import LoadFailed

# Names of widths in the shapes of tensors.
Size = Literal["width", "queries", "keys", "fused", "head", "feed_forward", "gate_and_up"]

MOST_LAYERS = 512  # LLAMA_MAX_LAYERS of llama.cpp's src/llama-hparams.h
_MOST_HEAD_WIDTH = 65536  # far above any model: tables of rope frequencies are made from it


class Dimensions(Struct, frozen=True, kw_only=True):
    """Sizes of a decoder, in numbers (of a vector), heads, layers and tokens."""

    layers: int
    width: int  # of the embedding
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    positions: int  # max_position_embeddings
    norm_epsilon: float

    @property
    def sizes(self) -> Mapping[Size, int]:
        """Widths by name."""
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        return {
            "width": self.width,
            "queries": queries,
            "keys": keys,
            "fused": queries + 2 * keys,
            "head": self.head_width,
            "feed_forward": self.feed_forward,
            "gate_and_up": 2 * self.feed_forward,
        }

    def metadata(self, context: int) -> dict[str, MetadataValue]:
        """By key without the architecture (llama.cpp src/llama-arch.cpp, LLM_KV_NAMES). `context` is in tokens."""
        return {
            "vocab_size": self.vocabulary,
            "context_length": context,
            "embedding_length": self.width,
            "block_count": self.layers,
            "feed_forward_length": self.feed_forward,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.head_width,
            "attention.value_length": self.head_width,
            "attention.layer_norm_rms_epsilon": self.norm_epsilon,
        }


def dimensions_of(config: Config, defaults: Mapping[str, float]) -> Dimensions:
    """Read them; `defaults` are those of the class in transformers, for keys that config.json may leave out.

    Without a default, keys and values have as many heads as queries, which share the width between them.
    Raises LoadFailed for a key that is missing, or sizes that fit no model.
    """

    def count(key: str, default: int | None = None) -> int:
        return config.count(key, int(defaults[key]) if key in defaults else default)

    heads, width = count("num_attention_heads"), count("hidden_size")
    dimensions = Dimensions(
        layers=count("num_hidden_layers"),
        width=width,
        feed_forward=count("intermediate_size"),
        heads=heads,
        kv_heads=count("num_key_value_heads", heads),
        head_width=count("head_dim", max(1, width // heads)),
        vocabulary=count("vocab_size"),
        positions=count("max_position_embeddings"),
        norm_epsilon=positive(config, "rms_norm_eps", defaults.get("rms_norm_eps")),
    )
    _check(dimensions)
    return dimensions


def _check(dimensions: Dimensions) -> None:
    """Refuse what would make llama.cpp abort, or tables that do not fit into memory."""
    heads, kv_heads, head_width = dimensions.heads, dimensions.kv_heads, dimensions.head_width
    if dimensions.layers > MOST_LAYERS:
        raise LoadFailed(f"config.json: num_hidden_layers is {dimensions.layers}; llama.cpp holds {MOST_LAYERS}")
    if heads % kv_heads:
        raise LoadFailed(f"config.json: {heads} attention heads cannot share {kv_heads} heads of keys evenly")
    if head_width % 2 or head_width > _MOST_HEAD_WIDTH:
        raise LoadFailed(f"config.json: heads of width {head_width} cannot be rotated; get the file again")
