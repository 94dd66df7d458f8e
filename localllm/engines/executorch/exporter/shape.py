"""The dimensions of a model to export, from its GGUF headers."""

import math
from collections.abc import Sequence

from msgspec import Struct

from localllm.engines.executorch.exporter.architectures import ARCHITECTURES, Architecture
from localllm.errors import LoadFailed
from localllm.models.gguf.facts import ModelFacts, facts_of
from localllm.models.gguf.fields import Fields
from localllm.models.gguf.header import GgufHeader
from localllm.models.gguf.metadata import Metadata
from localllm.models.gguf.tensors import TensorInfo

_ROPE_FACTORS = "rope_freqs.weight"
_OTHER_ROPES = "ExecuTorch's models rotate whole heads, by plain, linearly scaled or Llama 3's angles"


class Scales(Struct, frozen=True, kw_only=True):
    """What Granite multiplies with (src/models/granite.cpp)."""

    embedding: float = 1.0
    residual: float = 1.0  # what attention and feed forward add
    attention: float = 0.0  # queries times keys; 0: 1 / sqrt(head_width)
    logits: float = 1.0  # they are divided by it


class Shape(Struct, frozen=True, kw_only=True):
    """A model whose layers are all alike."""

    architecture: Architecture
    layers: int
    width: int  # of the embedding
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int  # rows of the embedding
    epsilon: float  # of the norms
    rope_base: float
    rope_factor: float  # angles are divided by it
    scales: Scales
    trained_tokens: int  # context; 0: unknown
    is_tied: bool  # the embedding is the output as well
    has_biases: bool  # of queries, keys and values
    has_rope_factors: bool  # a tensor of more divisors, one for each pair (Llama 3)

    @property
    def kv_width(self) -> int:
        """Numbers in the keys of a token, in one layer."""
        return self.kv_heads * self.head_width


def shape_of(headers: Sequence[GgufHeader]) -> Shape:
    """The shape of a model. Raises LoadFailed, saying what of it cannot be exported."""
    facts = facts_of(headers)
    architecture = ARCHITECTURES.get(facts.architecture)
    if architecture is None:
        raise unfit(f"has the architecture {facts.architecture}, which is none of {', '.join(ARCHITECTURES)}")
    metadata = headers[0].metadata
    _check_kind(metadata, facts)
    tensors = {tensor.name: tensor for header in headers for tensor in header.tensors}
    prefix = architecture.name
    head_width = facts.attention.key_length
    return Shape(
        architecture=architecture,
        layers=_positive(facts.layers, "layers"),
        width=_positive(facts.embedding_width, "width"),
        heads=_positive(facts.attention.heads, "heads"),
        kv_heads=_positive(_same(facts.attention.kv_heads, "KV heads"), "KV heads"),
        head_width=_positive(head_width, "head width"),
        feed_forward=_positive(_feed_forward(metadata, prefix), "feed forward width"),
        vocabulary=_vocabulary(tensors),
        epsilon=_number(metadata, f"{prefix}.attention.layer_norm_rms_epsilon", 0.0),
        rope_base=_number(metadata, f"{prefix}.rope.freq_base", 10000.0),
        rope_factor=_rope_factor(metadata, prefix, head_width),
        scales=_scales(metadata, prefix) if architecture.has_scales else Scales(),
        trained_tokens=facts.context_tokens,
        is_tied="output.weight" not in tensors,
        has_biases="blk.0.attn_q.bias" in tensors,
        has_rope_factors=_ROPE_FACTORS in tensors,
    )


def unfit(what: str) -> LoadFailed:
    """The error for a model that `what` keeps from being exported."""
    return LoadFailed(f"this model cannot be exported for ExecuTorch: it {what}; quantize it to a GGUF file instead")


def _check_kind(metadata: Metadata, facts: ModelFacts) -> None:
    if Fields(metadata).text("general.type") == "adapter":
        raise LoadFailed("this is a LoRA adapter, which cannot be exported; name the model that it is for")
    if facts.pooling not in ("", "none"):
        raise unfit("makes embeddings, and programs here only generate text")
    if facts.experts:
        raise unfit(f"is a mixture of {facts.experts} experts")
    if facts.attention.key_length != facts.attention.value_length:
        raise unfit("has keys and values of different widths")


def _same(values: Sequence[int], what: str) -> int:
    if len(set(values)) > 1:
        raise unfit(f"has layers with different {what}")
    return values[0] if values else 0


def _positive(value: int, what: str) -> int:
    if value <= 0:
        raise unfit(f"does not say its {what}")
    return value


def _feed_forward(metadata: Metadata, prefix: str) -> int:
    found = Fields(metadata).counts(f"{prefix}.feed_forward_length")
    return _same(found, "feed forward widths") if isinstance(found, tuple) else found or 0


def _vocabulary(tensors: dict[str, TensorInfo]) -> int:
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise unfit("has no token embedding")
    return embedding.shape[1]


def _rope_factor(metadata: Metadata, prefix: str, head_width: int) -> float:
    """As load_hparams in src/llama-model.cpp reads it."""
    fields = Fields(metadata)
    rotated = fields.count(f"{prefix}.rope.dimension_count")
    if rotated not in (None, head_width):
        raise unfit(f"rotates {rotated} of a head's {head_width} numbers; {_OTHER_ROPES}")
    kind = fields.text(f"{prefix}.rope.scaling.type") or "linear"
    if kind == "none":
        return 1.0
    if kind != "linear":
        raise unfit(f"has a rope of the type {kind[:40]!r}; {_OTHER_ROPES}")
    key = f"{prefix}.rope.scaling.factor"
    older = f"{prefix}.rope.scale_linear"
    return _number(metadata, key, _number(metadata, older, 1.0)) or 1.0


def _scales(metadata: Metadata, prefix: str) -> Scales:
    return Scales(
        embedding=_number(metadata, f"{prefix}.embedding_scale", 0.0) or 1.0,  # 0: none (src/llama-graph.cpp)
        residual=_number(metadata, f"{prefix}.residual_scale", 0.0) or 1.0,
        attention=_number(metadata, f"{prefix}.attention.scale", 0.0),
        logits=_number(metadata, f"{prefix}.logit_scale", 0.0) or 1.0,
    )


def _number(metadata: Metadata, key: str, default: float) -> float:
    value = metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise LoadFailed(f"the value of {key} in this GGUF file is no number from 0 on; get the file again")
    return float(value)
