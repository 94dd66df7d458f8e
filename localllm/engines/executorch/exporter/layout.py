"""Which tensor of a GGUF file becomes which weight of ExecuTorch's Transformer, and what is done to it on the way.

Names on the one side are those of llama.cpp (src/llama-arch.cpp), on the other the modules of
examples/models/llama/llama_transformer.py.
"""

import math
from collections.abc import Iterator

from msgspec import Struct

from localllm.engines.executorch.exporter.shape import Shape

EMBEDDING, OUTPUT, ROPE_FACTORS = "token_embd.weight", "output.weight", "rope_freqs.weight"


class Place(Struct, frozen=True, kw_only=True):
    """Where a tensor goes."""

    source: str  # in the GGUF file
    target: str  # in the state dict
    shape: tuple[int, ...]  # as torch has it: rows first
    paired_heads: int = 0  # so many heads whose rows go from neighbours to halves; 0: rows stay
    factor: float = 1.0  # that every number is multiplied with


def layout_of(shape: Shape) -> list[Place]:
    """All places, in the order of the model."""
    return [
        Place(
            source=EMBEDDING,
            target="tok_embeddings.weight",
            shape=(shape.vocabulary, shape.width),
            factor=shape.scales.embedding,
        ),
        *(place for layer in range(shape.layers) for place in _layer(shape, layer)),
        Place(source="output_norm.weight", target="norm.weight", shape=(shape.width,)),
        Place(
            source=EMBEDDING if shape.is_tied else OUTPUT,
            target="output.weight",
            shape=(shape.vocabulary, shape.width),
            factor=1 / shape.scales.logits,
        ),
    ]


def _layer(shape: Shape, layer: int) -> Iterator[Place]:
    block, module = f"blk.{layer}", f"layers.{layer}"
    norms = {"attn_norm": ("attention_norm", shape.width), "ffn_norm": ("ffn_norm", shape.width)}
    if shape.architecture.has_head_norms:
        norms |= {f"attn_{part}_norm": (f"attention.{part}_norm_fn", shape.head_width) for part in "qk"}
    for name, (target, width) in norms.items():
        yield Place(source=f"{block}.{name}.weight", target=f"{module}.{target}.weight", shape=(width,))
    for place in (*_attention(shape), *_feed_forward(shape)):
        yield Place(
            source=f"{block}.{place.source}",
            target=f"{module}.{place.target}",
            shape=place.shape,
            paired_heads=place.paired_heads,
            factor=place.factor,
        )


def _attention(shape: Shape) -> Iterator[Place]:
    """The scale of attention goes into the queries: ExecuTorch's is always 1 / sqrt(head_width)."""
    query_factor = shape.scales.attention * math.sqrt(shape.head_width) if shape.scales.attention else 1.0
    is_paired = shape.architecture.pairs_neighbours
    for part, heads, factor in (
        ("q", shape.heads, query_factor),
        ("k", shape.kv_heads, 1.0),
        ("v", shape.kv_heads, 1.0),
    ):
        rows = heads * shape.head_width
        kinds = {"weight": (rows, shape.width)} | ({"bias": (rows,)} if shape.has_biases else {})
        for kind, size in kinds.items():
            yield Place(
                source=f"attn_{part}.{kind}",
                target=f"attention.w{part}.{kind}",
                shape=size,
                paired_heads=heads if is_paired and part != "v" else 0,
                factor=factor,
            )
    yield Place(
        source="attn_output.weight",
        target="attention.wo.weight",
        shape=(shape.width, shape.heads * shape.head_width),
        factor=shape.scales.residual,
    )


def _feed_forward(shape: Shape) -> Iterator[Place]:
    inner, outer = (shape.feed_forward, shape.width), (shape.width, shape.feed_forward)
    yield Place(source="ffn_gate.weight", target="feed_forward.w1.weight", shape=inner)
    yield Place(source="ffn_down.weight", target="feed_forward.w2.weight", shape=outer, factor=shape.scales.residual)
    yield Place(source="ffn_up.weight", target="feed_forward.w3.weight", shape=inner)
