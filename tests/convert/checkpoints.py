"""Checkpoints of tiny llamas, as transformers would save them, by numpy alone; the same seed makes the same bytes."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tests.tiny import SPECIAL, TEMPLATE, byte_names

MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o")]
TOKENS = [*SPECIAL, *byte_names(), *("".join(pair) for pair in MERGES)]
LAYERS, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 2, 64, 4, 2, 128, 1024

Config = dict[str, object]
Weights = dict[str, "Stored"]


class Stored(Struct, frozen=True):
    """A tensor as bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def tiny_config(**changes: object) -> Config:
    """config.json; a change to None leaves the key out."""
    config: Config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": CONTEXT,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": len(TOKENS),
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    return {key: value for key, value in (config | changes).items() if value is not None}


def tiny_shapes() -> dict[str, tuple[int, ...]]:
    """The names and shapes of its tensors in `tiny_config`."""
    keys = WIDTH // HEADS * KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (len(TOKENS), WIDTH)}
    for layer in range(LAYERS):
        block = f"model.layers.{layer}"
        shapes |= {
            f"{block}.input_layernorm.weight": (WIDTH,),
            f"{block}.mlp.down_proj.weight": (WIDTH, FEED_FORWARD),
            f"{block}.mlp.gate_proj.weight": (FEED_FORWARD, WIDTH),
            f"{block}.mlp.up_proj.weight": (FEED_FORWARD, WIDTH),
            f"{block}.post_attention_layernorm.weight": (WIDTH,),
            f"{block}.self_attn.k_proj.weight": (keys, WIDTH),
            f"{block}.self_attn.o_proj.weight": (WIDTH, WIDTH),
            f"{block}.self_attn.q_proj.weight": (WIDTH, WIDTH),
            f"{block}.self_attn.v_proj.weight": (keys, WIDTH),
        }
    return shapes | {"model.norm.weight": (WIDTH,), "lm_head.weight": (len(TOKENS), WIDTH)}


def tiny_weights(dtype: str = "BF16", *, seed: int = 0) -> Weights:
    """Random weights; norms are around one."""
    random = np.random.default_rng(seed)
    return {
        name: stored(random.normal(len(shape) == 1, 0.3, shape).astype(np.float32), dtype)
        for name, shape in tiny_shapes().items()
    }


def stored(values: NDArray[np.float32], dtype: str) -> Stored:
    """float32 as F32, F16 or BF16, the latter cut off: which numbers come out does not matter to any test."""
    if dtype == "BF16":
        data = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    else:
        data = values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
    return Stored(dtype, values.shape, data)


def safetensors_bytes(weights: Mapping[str, Stored]) -> bytes:
    """A file of these."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, tensor in weights.items():
        end = place + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    return with_header(json.dumps(header).encode(), b"".join(tensor.data for tensor in weights.values()))


def with_header(header: bytes, data: bytes) -> bytes:
    """A file with this header, padded with spaces as the reference implementation does."""
    padded = header + b" " * (-len(header) % 8)
    return struct.pack("<Q", len(padded)) + padded + data


def tokenizer_json() -> dict[str, object]:
    """Byte pairs as GPT-2 has them."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": text, "special": True}
            | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            for number, text in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(TOKENS)},
            "merges": [list(pair) for pair in MERGES],
        },
    }


def tokenizer_config() -> dict[str, object]:
    """tokenizer_config.json."""
    return {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[2],
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": TEMPLATE,
    }


def write_json(path: Path, value: object) -> None:
    """Write it as transformers does."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def write_checkpoint(
    folder: Path, *, config: Config | None = None, weights: Weights | None = None, shards: int = 1
) -> Path:
    """Write a whole checkpoint into a new folder, with its weights in so many files."""
    folder.mkdir(parents=True)
    weights = tiny_weights() if weights is None else weights
    write_json(folder / "config.json", config or tiny_config())
    write_json(folder / "tokenizer.json", tokenizer_json())
    write_json(folder / "tokenizer_config.json", tokenizer_config())
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors_bytes(weights))
        return folder
    places: dict[str, str] = {}
    for number in range(shards):
        part = dict(list(weights.items())[number::shards])
        name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        (folder / name).write_bytes(safetensors_bytes(part))
        places |= dict.fromkeys(part, name)
    size = sum(len(tensor.data) for tensor in weights.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": places})
    return folder
