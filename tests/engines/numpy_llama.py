"""A llama of a few layers in numpy: what enters each of its weights, to compare the native library with.

Sources: the papers of LLaMA (RMSNorm, SwiGLU), RoFormer (rotation of adjacent pairs) and Mixtral (softmax over all
experts, the chosen ones scaled to sum 1).
"""

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.tiny import SPECIAL, byte_names

Floats = NDArray[np.float64]
Weights = dict[str, Floats]

LAYERS, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT, EPSILON, BASE = 2, 64, 4, 2, 96, 128, 1e-5, 10_000.0
SIZE = WIDTH // HEADS


def write_model(path: Path, *, experts: int = 0, used: int = 0, wants_bos: bool = False, seed: int = 0) -> Weights:
    """Write it as a GGUF of F32; returns its weights."""
    tokens = [*SPECIAL, *byte_names()]
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(float(name.endswith("norm.weight")), 0.3, shape).astype(np.float32)
        for name, shape in _shapes(len(tokens), experts).items()
    }
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(SIZE)
    writer.add_rope_freq_base(BASE)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(used)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * 256)
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(wants_bos)
    for name, values in weights.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {name: values.astype(np.float64) for name, values in weights.items()}


def _shapes(vocabulary: int, experts: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (vocabulary, WIDTH),
    }
    for layer in range(LAYERS):
        parts: dict[str, tuple[int, ...]] = {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (SIZE * KV_HEADS, WIDTH),
            "attn_v": (SIZE * KV_HEADS, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
        }
        if experts:
            parts |= {"ffn_gate_inp": (experts, WIDTH)}
        end, many = ("_exps", (experts,)) if experts else ("", ())
        parts |= {
            f"ffn_gate{end}": (*many, FEED_FORWARD, WIDTH),
            f"ffn_up{end}": (*many, FEED_FORWARD, WIDTH),
            f"ffn_down{end}": (*many, WIDTH, FEED_FORWARD),
        }
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in parts.items()}
    return shapes


class Inputs:
    """Rows that entered each tensor: in all, or for each expert."""

    def __init__(self) -> None:
        self.squares: dict[str, Floats] = {}
        self.counts: dict[str, list[int]] = {}

    def add(self, name: str, rows: Floats, expert: int = 0, experts: int = 1) -> None:
        """Take notes of rows [rows, length]."""
        squares = self.squares.setdefault(name, np.zeros((experts, rows.shape[1])))
        squares[expert] += (rows**2).sum(0)
        self.counts.setdefault(name, [0] * experts)[expert] += len(rows)


def read(weights: Weights, tokens: list[int], *, used: int = 0, inputs: Inputs | None = None) -> Inputs:
    """Have the model read one chunk from its beginning."""
    inputs = inputs or Inputs()
    state = weights["token_embd.weight"][tokens]
    for layer in range(LAYERS):
        block = {name.split(".")[2]: name for name in weights if name.startswith(f"blk.{layer}.")}
        normed = _normed(state, weights[block["attn_norm"]])
        state = state + _attention(weights, block, normed, inputs)
        normed = _normed(state, weights[block["ffn_norm"]])
        feed_forward = _experts if "ffn_gate_exps" in block else _feed_forward
        state = state + feed_forward(weights, block, normed, inputs, used)
    return inputs


def _normed(state: Floats, weight: Floats) -> Floats:
    size: Floats = np.sqrt((state**2).mean(-1, keepdims=True) + EPSILON)
    return state / size * weight


def _attention(weights: Weights, block: dict[str, str], normed: Floats, inputs: Inputs) -> Floats:
    rows = len(normed)
    projected = {}
    for part, heads in (("attn_q", HEADS), ("attn_k", KV_HEADS), ("attn_v", KV_HEADS)):
        inputs.add(block[part], normed)
        projected[part] = (normed @ weights[block[part]].T).reshape(rows, heads, SIZE).swapaxes(0, 1)
    queries, keys = _rotated(projected["attn_q"]), _rotated(projected["attn_k"])
    keys, values = (np.repeat(part, HEADS // KV_HEADS, 0) for part in (keys, projected["attn_v"]))
    scores = queries @ keys.swapaxes(1, 2) / np.sqrt(SIZE)
    scores[:, np.triu(np.ones((rows, rows), bool), 1)] = -np.inf
    mixed = (_softmax(scores) @ values).swapaxes(0, 1).reshape(rows, WIDTH)
    inputs.add(block["attn_output"], mixed)
    return mixed @ weights[block["attn_output"]].T


def _rotated(heads: Floats) -> Floats:
    angles = np.arange(heads.shape[1])[:, None] * BASE ** (-np.arange(0, SIZE, 2) / SIZE)
    even, odd = heads[..., ::2], heads[..., 1::2]
    turned = even * np.cos(angles) - odd * np.sin(angles), even * np.sin(angles) + odd * np.cos(angles)
    return np.stack(turned, -1).reshape(heads.shape)


def _feed_forward(weights: Weights, block: dict[str, str], normed: Floats, inputs: Inputs, _used: int) -> Floats:
    for part in ("ffn_gate", "ffn_up"):
        inputs.add(block[part], normed)
    hidden = _silu(normed @ weights[block["ffn_gate"]].T) * (normed @ weights[block["ffn_up"]].T)
    inputs.add(block["ffn_down"], hidden)
    return hidden @ weights[block["ffn_down"]].T


def _experts(weights: Weights, block: dict[str, str], normed: Floats, inputs: Inputs, used: int) -> Floats:
    inputs.add(block["ffn_gate_inp"], normed)
    shares = _softmax(normed @ weights[block["ffn_gate_inp"]].T)
    gate, up, down = (weights[block[f"ffn_{part}_exps"]] for part in ("gate", "up", "down"))
    result = np.zeros_like(normed)
    for row, share in zip(range(len(normed)), shares, strict=True):
        chosen = np.argsort(-share)[:used]
        for expert in chosen:
            read = normed[row : row + 1]
            hidden = _silu(read @ gate[expert].T) * (read @ up[expert].T)
            for part, rows in (("gate", read), ("up", read), ("down", hidden)):
                inputs.add(block[f"ffn_{part}_exps"], rows, expert, len(gate))
            result[row] += (hidden @ down[expert].T)[0] * share[expert] / share[chosen].sum()
    return result


def _softmax(scores: Floats) -> Floats:
    powers: Floats = np.exp(scores - scores.max(-1, keepdims=True))
    shares: Floats = powers / powers.sum(-1, keepdims=True)
    return shares


def _silu(values: Floats) -> Floats:
    steps: Floats = 1 + np.exp(-values)
    return values / steps
