"""Small llama models with rows that fit every type, or as they are wanted, as GGUF files."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.tiny import SPECIAL, TEMPLATE, Weights, byte_names

WIDTH, HEADS, KV_HEADS = 256, 4, 2
HALF = gguf.LlamaFileType.MOSTLY_F16


def write_wide_model(
    path: Path,
    *,
    width: int = WIDTH,
    feed_forward: int = WIDTH,
    layers: int = 2,
    experts: int = 0,
    is_tied: bool = False,
    alignment: int = 0,
    metadata: Mapping[str, str | int | list[int]] | None = None,
    changed: Mapping[str, Weights] | None = None,
    added: Mapping[str, NDArray[np.float16]] | None = None,
    renamed: tuple[str, str] = ("", ""),
) -> Path:
    """Write the model, its matrices as F16; the same arguments write the same bytes.

    Tensors of `changed` have these values, as F32; those of `added` come behind all others. In names, the first of
    `renamed` becomes the second.
    """
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(str(path), "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    _add_metadata(writer, width, feed_forward, layers, experts)
    for key, value in (metadata or {}).items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_array(key, value)
    for name, shape in shapes(width, feed_forward, layers, experts, is_tied=is_tied).items():
        weights = random.normal(0, 0.05, shape).astype(np.float16) if len(shape) > 1 else np.ones(shape, np.float32)
        writer.add_tensor(name.replace(*renamed), (changed or {}).get(name, weights))
    for name, weights in (added or {}).items():
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def shapes(
    width: int = WIDTH, feed_forward: int = WIDTH, layers: int = 2, experts: int = 0, *, is_tied: bool = False
) -> dict[str, tuple[int, ...]]:
    """Tensors by name, rows first."""
    vocabulary, kv_width = len(SPECIAL) + 256, width // HEADS * KV_HEADS
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, width), "output_norm.weight": (width,)}
    if not is_tied:
        found["output.weight"] = (vocabulary, width)
    for layer in range(layers):
        found |= {
            f"blk.{layer}.{name}.weight": shape
            for name, shape in {
                "attn_norm": (width,),
                "attn_q": (width, width),
                "attn_k": (kv_width, width),
                "attn_v": (kv_width, width),
                "attn_output": (width, width),
                "ffn_norm": (width,),
                **_feed_forward(width, feed_forward, experts),
            }.items()
        }
    return found


def _feed_forward(width: int, feed_forward: int, experts: int) -> dict[str, tuple[int, ...]]:
    if not experts:
        up, down = (feed_forward, width), (width, feed_forward)
        return {"ffn_gate": up, "ffn_up": up, "ffn_down": down}
    ups, downs = (experts, feed_forward, width), (experts, width, feed_forward)
    return {"ffn_gate_inp": (experts, width), "ffn_gate_exps": ups, "ffn_up_exps": ups, "ffn_down_exps": downs}


def _add_metadata(writer: gguf.GGUFWriter, width: int, feed_forward: int, layers: int, experts: int) -> None:
    writer.add_name("wide")
    writer.add_file_type(HALF)
    writer.add_context_length(256)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // HEADS)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    tokens = [*SPECIAL, *byte_names()]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(["h e"])
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def importance_values(width: int = WIDTH, feed_forward: int = WIDTH, *, seed: int = 0) -> dict[str, Weights]:
    """Mean squares for every matrix in the layers of a model of these dimensions."""
    random = np.random.default_rng(seed)
    return {
        name: random.uniform(0.1, 4, shape[-1]).astype(np.float32)
        for name, shape in shapes(width, feed_forward).items()
        if len(shape) == 2 and name.startswith("blk.")
    }


def write_importance_file(path: Path, values: Mapping[str, Weights]) -> Path:
    """Write an importance matrix as llama.cpp does, over one row."""
    writer = gguf.GGUFWriter(str(path), "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["test"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, squares in values.items():
        writer.add_tensor(f"{name}.in_sum2", squares.reshape(1, -1))
        writer.add_tensor(f"{name}.counts", np.ones((1, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
