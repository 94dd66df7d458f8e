"""A tiny llama model with random weights, as a GGUF: real enough for every native code path, made in no time.

Its vocabulary is the 256 bytes, so any text goes in; what comes out is random bytes, mostly no valid UTF-8.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

LAYERS, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 2, 64, 4, 2, 128, 1024
ADAPTER_RANK, ADAPTER_ALPHA = 4, 8.0
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_names() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes (`bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    names = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [names[byte] for byte in range(256)]


def write_tiny_model(
    path: Path,
    *,
    seed: int = 0,
    template: str | None = TEMPLATE,
    context: int = CONTEXT,
    pooling: gguf.PoolingType | None = None,
    added: Mapping[str, Weights] | None = None,
    tensors_each: int = 0,
) -> Path:
    """Write the model; the same seed writes the same bytes. `added` is added to the weights of these names.

    With `tensors_each` it is split into files of so many tensors, beside `path`: <stem>-00001-of-00003.gguf.
    """
    random = np.random.default_rng(seed)
    tokens = [*SPECIAL, *byte_names()]
    writer = gguf.GGUFWriter(str(path), "llama", split_max_tensors=tensors_each)
    _add_dimensions(writer, context)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    _add_vocabulary(writer, tokens, specials=len(SPECIAL))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    if template is not None:
        writer.add_chat_template(template)
    for name, shape in _shapes(len(tokens)).items():
        if name.endswith("norm.weight"):
            writer.add_tensor(name, np.ones(shape, np.float32))
        else:
            weights = random.normal(0, 0.3, shape).astype(np.float32)
            writer.add_tensor(name, weights + (added or {}).get(name, np.float32(0)))
    return _finish(writer, path)


def write_tiny_embedder(path: Path, *, pooling: Literal["mean", "cls", "last"], seed: int = 0) -> Path:
    """Write a model that makes embeddings: the tiny llama for mean and last, a BERT for cls."""
    if pooling != "cls":
        return write_tiny_model(path, seed=seed, template=None, pooling=gguf.PoolingType[pooling.upper()])
    return _write_tiny_bert(path, seed)


def _write_tiny_bert(path: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"\u2581{chr(97 + i)}" for i in range(26))]
    writer = gguf.GGUFWriter(str(path), "bert")
    _add_dimensions(writer, CONTEXT)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.CLS)
    writer.add_token_type_count(2)
    writer.add_tokenizer_model("bert")
    _add_vocabulary(writer, tokens, specials=5)
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_mask_token_id(4)
    for name, shape in _bert_shapes(len(tokens)).items():
        if name.endswith("norm.weight"):
            writer.add_tensor(name, np.ones(shape, np.float32))
        else:
            writer.add_tensor(name, random.normal(0, 0.3, shape).astype(np.float32))
    return _finish(writer, path)


def adapter_weights(seed: int = 0) -> dict[str, tuple[Weights, Weights]]:
    """LoRA's A [rank, in] and B [out, rank] by the name of the weights they add to."""
    random = np.random.default_rng(seed)
    return {
        f"blk.{layer}.attn_q.weight": (
            random.normal(0, 0.3, (ADAPTER_RANK, WIDTH)).astype(np.float32),
            random.normal(0, 0.3, (WIDTH, ADAPTER_RANK)).astype(np.float32),
        )
        for layer in range(LAYERS)
    }


def write_tiny_adapter(path: Path, *, seed: int = 0) -> Path:
    """Write `adapter_weights` as a LoRA adapter for the tiny model, with alpha ADAPTER_ALPHA."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ADAPTER_ALPHA)
    for name, (a, b) in adapter_weights(seed).items():
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b)
    return _finish(writer, path)


def _add_dimensions(writer: gguf.GGUFWriter, context: int) -> None:
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)


def _add_vocabulary(writer: gguf.GGUFWriter, tokens: list[str], *, specials: int) -> None:
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * specials + [gguf.TokenType.NORMAL] * (len(tokens) - specials))


def _finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    kv_width = WIDTH // HEADS * KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (vocabulary, WIDTH),
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        shapes |= {
            f"{block}.attn_norm.weight": (WIDTH,),
            f"{block}.attn_q.weight": (WIDTH, WIDTH),
            f"{block}.attn_k.weight": (kv_width, WIDTH),
            f"{block}.attn_v.weight": (kv_width, WIDTH),
            f"{block}.attn_output.weight": (WIDTH, WIDTH),
            f"{block}.ffn_norm.weight": (WIDTH,),
            f"{block}.ffn_gate.weight": (FEED_FORWARD, WIDTH),
            f"{block}.ffn_up.weight": (FEED_FORWARD, WIDTH),
            f"{block}.ffn_down.weight": (WIDTH, FEED_FORWARD),
        }
    return shapes


def _bert_shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, WIDTH),
        "token_types.weight": (2, WIDTH),
        "position_embd.weight": (CONTEXT, WIDTH),
        "token_embd_norm.weight": (WIDTH,),
        "token_embd_norm.bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for part in ("q", "k", "v", "output"):
            shapes |= {f"{block}.attn_{part}.weight": (WIDTH, WIDTH), f"{block}.attn_{part}.bias": (WIDTH,)}
        shapes |= {
            f"{block}.ffn_up.weight": (FEED_FORWARD, WIDTH),
            f"{block}.ffn_up.bias": (FEED_FORWARD,),
            f"{block}.ffn_down.weight": (WIDTH, FEED_FORWARD),
            f"{block}.ffn_down.bias": (WIDTH,),
        }
        for norm in ("attn_output_norm", "layer_output_norm"):
            shapes |= {f"{block}.{norm}.weight": (WIDTH,), f"{block}.{norm}.bias": (WIDTH,)}
    return shapes


if __name__ == "__main__":
    write_tiny_model(Path(sys.argv[1]))
