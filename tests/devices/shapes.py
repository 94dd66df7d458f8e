"""Shapes of models: two by hand, and any file's, read with the reference implementation of GGUF."""

from pathlib import Path

import gguf

from localllm.devices.footprint import ModelShape

EIGHT_BILLION = ModelShape(  # as in Llama 3 8B, with weights of 4.85 bits
    weights_bytes=4_870_000_000,
    parameters=8_030_000_000,
    layers=32,
    embedding_width=4096,
    feed_forward_width=14336,
    heads=32,
    kv_heads=(8,) * 32,
    key_length=128,
    value_length=128,
    vocabulary=128_256,
    context_tokens=131_072,
)
SLIDING = ModelShape(  # like Gemma 3: of six layers, five see 512 tokens
    weights_bytes=60 * 2**20,
    parameters=55_000_000,
    layers=6,
    embedding_width=640,
    feed_forward_width=2048,
    heads=4,
    kv_heads=(1,) * 6,
    key_length=256,
    value_length=256,
    vocabulary=30_000,
    context_tokens=32_768,
    sliding_window=512,
    sliding_layers=5,
)


def shape_of(path: Path) -> ModelShape:
    """Of a llama-like model."""
    reader = gguf.GGUFReader(path)

    def number(key: str, default: int = 0) -> int:
        field = reader.get_field(f"llama.{key}")
        return int(field.contents()) if field else default

    layers, heads, width = number("block_count"), number("attention.head_count"), number("embedding_length")
    tokens = reader.get_field("tokenizer.ggml.tokens")
    assert tokens is not None
    return ModelShape(
        weights_bytes=sum(int(tensor.n_bytes) for tensor in reader.tensors),
        parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
        layers=layers,
        embedding_width=width,
        feed_forward_width=number("feed_forward_length"),
        heads=heads,
        kv_heads=(number("attention.head_count_kv", heads),) * layers,
        key_length=number("attention.key_length", width // heads),
        value_length=number("attention.value_length", width // heads),
        vocabulary=len(tokens.data),
        context_tokens=number("context_length"),
    )
