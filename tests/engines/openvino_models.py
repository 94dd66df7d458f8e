"""Tiny random models of the architectures that OpenVINO runs here."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny import CONTEXT, FEED_FORWARD, HEADS, KV_HEADS, LAYERS, SPECIAL, TEMPLATE, WIDTH, byte_names

HEAD_WIDTH = WIDTH // HEADS
Numbers = NDArray[np.float32]


def skip_without_openvino() -> None:
    """Leave the module's tests out where it is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("openvino", "openvino_genai")):
        pytest.skip("OpenVINO is not installed: pip install localllm[openvino]", allow_module_level=True)


def write_model(
    path: Path,
    architecture: str,
    *,
    quant: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    tensors: Mapping[str, Numbers] | None = None,
    numbers: Mapping[str, float | int | str] | None = None,
    without: tuple[str, ...] = (),
    is_tied: bool = False,
) -> Path:
    """Write a model; `tensors` and `numbers` (keys after the architecture's name) are added or put in the place of
    its own, and those whose names end with one of `without` are left out."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_string("general.name", "tiny")
    of_model: dict[str, float | int | str] = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": FEED_FORWARD,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 50_000.0,
        **(numbers or {}),
    }
    for key, value in of_model.items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(f"{architecture}.{key}", value)
    tokens = [*SPECIAL, *byte_names(), "he"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer.add_token_types(kinds)
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, weights in {**_weights(architecture, len(tokens), is_tied=is_tied), **(tensors or {})}.items():
        if name.endswith(without) and without:
            continue
        if weights.ndim == 2 and quant != gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name, gguf.quants.quantize(weights, quant), raw_dtype=quant)
        else:
            writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _weights(architecture: str, vocabulary: int, *, is_tied: bool) -> dict[str, Numbers]:
    random = np.random.default_rng(1)

    def normal(*shape: int, mean: float = 0.0) -> Numbers:
        return (mean + random.normal(0, 0.3, shape)).astype(np.float32)

    kv_width = HEAD_WIDTH * KV_HEADS
    found = {"token_embd.weight": normal(vocabulary, WIDTH), "output_norm.weight": normal(WIDTH, mean=1)}
    if not is_tied:
        found["output.weight"] = normal(vocabulary, WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name, rows in (("attn_q", WIDTH), ("attn_k", kv_width), ("attn_v", kv_width)):
            found[f"{block}.{name}.weight"] = normal(rows, WIDTH)
            if architecture == "qwen2":
                found[f"{block}.{name}.bias"] = normal(rows)
        if architecture == "qwen3":
            found[f"{block}.attn_q_norm.weight"] = normal(HEAD_WIDTH, mean=1)
            found[f"{block}.attn_k_norm.weight"] = normal(HEAD_WIDTH, mean=1)
        found |= {
            f"{block}.attn_norm.weight": normal(WIDTH, mean=1),
            f"{block}.ffn_norm.weight": normal(WIDTH, mean=1),
            f"{block}.attn_output.weight": normal(WIDTH, WIDTH),
            f"{block}.ffn_gate.weight": normal(FEED_FORWARD, WIDTH),
            f"{block}.ffn_up.weight": normal(FEED_FORWARD, WIDTH),
            f"{block}.ffn_down.weight": normal(WIDTH, FEED_FORWARD),
        }
    return found
