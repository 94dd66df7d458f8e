"""A checkpoint of the starter model, as its authors would have saved it, made from its GGUF file.

Its matrices came out of that file's four bits (Q4_1, the embedding Q8_0), so they are not the weights that were
trained. Nothing of the product takes part: gguf's own reader and dequantization, and the names of transformers.

    python -m tests.convert.starter MODEL.gguf FOLDER [--type F16]
"""

import argparse
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.convert.checkpoints import stored, write_json
from tests.convert.vocabulary.byte_pair_files import added_token

Weights = NDArray[np.float32]
Number = TypeVar("Number", bound=np.generic)

LAYERS, WIDTH, FEED_FORWARD, HEADS, KV_HEADS, VOCABULARY = 30, 576, 1536, 9, 3, 49152
UNKNOWN, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_ENDS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PAIRED_HEADS = {"attn_q": HEADS, "attn_k": KV_HEADS}


def write_starter_checkpoint(source: Path, folder: Path, dtype: str = "F32") -> Path:
    """Write it into a new folder; `dtype` is F32, F16 or BF16, of which BF16 is cut off, not rounded."""
    folder.mkdir(parents=True)
    reader = gguf.GGUFReader(source)
    write_json(folder / "config.json", _config(dtype))
    write_json(folder / "tokenizer.json", _tokenizer_json(reader))
    write_json(folder / "tokenizer_config.json", _tokenizer_config(field(reader, "tokenizer.chat_template")))
    _write_weights(folder / "model.safetensors", reader, dtype)
    return folder


def field(reader: gguf.GGUFReader, key: str) -> object:
    """A value of the file's metadata."""
    found = reader.get_field(key)
    assert found is not None, key
    return found.contents()


def dequantized(tensor: gguf.ReaderTensor) -> Weights:
    """The numbers of a tensor, rows first, by the gguf package."""
    return np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)


def in_halves(name: str, weights: NDArray[Number]) -> NDArray[Number]:
    """A tensor of the GGUF file with the rows of queries and keys as transformers rotates them.

    ggml rotates neighbours (rows 0 and 1 of a head), transformers the same row of both halves (rows 0 and 32).
    """
    heads = _PAIRED_HEADS.get(name.split(".")[-2], 0)
    if not heads:
        return weights
    pairs = weights.reshape(heads, -1, 2, weights.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(weights.shape))


def source_name(name: str) -> str:
    """What transformers calls a tensor of the GGUF file."""
    if name in _ENDS:
        return _ENDS[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_PARTS[part]}.{kind}"


def _write_weights(path: Path, reader: gguf.GGUFReader, dtype: str) -> None:
    """One tensor in memory at a time."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for tensor in reader.tensors:
        end = place + int(tensor.n_elements) * _BYTES[dtype]
        shape = [int(size) for size in reversed(tensor.shape)]
        header[source_name(tensor.name)] = {"dtype": dtype, "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for data in _data(reader, dtype):
            file.write(data)
    assert path.stat().st_size == 8 + len(text) + place


def _data(reader: gguf.GGUFReader, dtype: str) -> Iterator[bytes]:
    for tensor in reader.tensors:
        yield stored(in_halves(tensor.name, dequantized(tensor)), dtype).data


def _config(dtype: str) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "pad_token_id": 2,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": 100000,
        "tie_word_embeddings": True,
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype],
        "vocab_size": VOCABULARY,
    }


def _tokenizer_json(reader: gguf.GGUFReader) -> dict[str, object]:
    """Of the vocabulary and the merges, with SmolLM2's pre-tokenizer."""
    tokens, types, merges = (field(reader, f"tokenizer.ggml.{name}") for name in ("tokens", "token_type", "merges"))
    assert isinstance(tokens, list)
    assert isinstance(types, list)
    assert isinstance(merges, list)
    controls = [place for place, kind in enumerate(types) if kind == gguf.TokenType.CONTROL]
    in_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(place, tokens[place], special=True) for place in controls],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, in_bytes]},
        "post_processor": None,
        "decoder": {**in_bytes, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: place for place, token in enumerate(tokens)},
            "merges": merges,
        },
    }


def _tokenizer_config(template: object) -> dict[str, object]:
    return {
        "add_prefix_space": False,
        "additional_special_tokens": [START, END],
        "bos_token": START,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "model_max_length": 8192,
        "pad_token": END,
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": UNKNOWN,
        "vocab_size": VOCABULARY,
    }


def main() -> None:
    """Make one by hand, to try things on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="MODEL.gguf", help="the starter model; localllm show names it")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new one")
    parser.add_argument("--type", choices=list(_BYTES), default="F16", help="[default: F16]")
    args = parser.parse_args()
    write_starter_checkpoint(args.source, args.folder, args.type)


if __name__ == "__main__":
    main()
