"""A folder as MLC converts models into, whose tokens are the 256 bytes."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.tiny import SPECIAL, TEMPLATE, byte_names

CONFIG = "mlc-chat-config.json"
WINDOW = 512
SHARD = "params_shard_0.bin"
END = "<|im_end|>"


def write_model(folder: Path, *, template: str | None = TEMPLATE, **config: object) -> Path:
    """Write it; `config` are fields of mlc-chat-config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "tokenizer.json", tokenizer())
    settings: dict[str, object] = {"eos_token": END, "bos_token": SPECIAL[0], "add_bos_token": False}
    if template is not None:
        settings["chat_template"] = template
    write_json(folder / "tokenizer_config.json", settings)
    (folder / SHARD).write_bytes(bytes(256))
    shard = {"dataPath": SHARD, "format": "raw-shard", "nbytes": 256, "records": []}
    write_json(folder / "tensor-cache.json", {"metadata": {"ParamSize": 0, "BitsPerParam": 4.5}, "records": [shard]})
    write_json(folder / CONFIG, chat_config() | config)
    return folder


def chat_config() -> dict[str, object]:
    """The fields of mlc-chat-config.json that MLC wants, and penalties and ends of its own."""
    return {
        "version": "0.1.0",
        "model_type": "llama",
        "quantization": "q4f16_1",
        "model_config": {},
        "vocab_size": len(SPECIAL) + 256,
        "context_window_size": WINDOW,
        "sliding_window_size": -1,
        "prefill_chunk_size": 128,
        "attention_sink_size": -1,
        "tensor_parallel_shards": 1,
        "repetition_penalty": 1.3,
        "conv_template": {"name": "chatml", "stop_str": ["river"], "stop_token_ids": [40]},
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def tokenizer() -> dict[str, object]:
    """A tokenizer.json without merges."""
    texts = [*SPECIAL, *byte_names()]
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": at, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
            | {"special": True}
            for at, text in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": {text: at for at, text in enumerate(texts)}, "merges": []},
    }


def write_json(path: Path, document: Mapping[str, object]) -> None:
    path.write_text(json.dumps(document), "utf-8")
