"""The commands of the fake: they write plausible files. FAKE_MLC_FAIL and FAKE_MLC_SLOW name the one that does not."""

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

BITS = {"q4f16_1": 4.5, "q4f32_1": 5.0, "q0f16": 16.0, "q0f32": 32.0, "q3f16_1": 3.4}
TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json")
SHARD = "params_shard_0.bin"


def main() -> None:
    command, arguments = sys.argv[1], sys.argv[2:]
    parser = argparse.ArgumentParser(f"mlc_llm {command}")
    parser.add_argument("source", type=Path)
    parser.add_argument("--quantization", choices=list(BITS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--conv-template")
    parser.add_argument("--context-window-size", type=int)
    parser.add_argument("--output", "-o", type=Path, required=True)
    given = parser.parse_args(arguments)
    print(f"[fake] {command} of {given.source}")
    if os.environ.get("FAKE_MLC_SLOW") == command:
        Path(os.environ["FAKE_MLC_PID"]).write_text(str(os.getpid()), "utf-8")
        time.sleep(600)
    if os.environ.get("FAKE_MLC_FAIL") == command:
        raise ValueError("Unknown model type: this one. Available ones: llama, qwen2")
    {"convert_weight": convert_weight, "gen_config": gen_config, "compile": compile_library}[command](given)


def convert_weight(given: argparse.Namespace) -> None:
    weights = sorted(given.source.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"Cannot find weights in {given.source}")
    digest = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in weights)
    given.output.mkdir(parents=True, exist_ok=True)
    data = digest * 16
    (given.output / SHARD).write_bytes(data)
    tensor: dict[str, object] = {
        "name": "model.embed_tokens.q_weight",
        "shape": [16, 8],
        "dtype": "uint32",
        "format": "raw",
    }
    tensor |= {"nbytes": len(data), "byteOffset": 0}
    shard = {"dataPath": SHARD, "format": "raw-shard", "nbytes": len(data), "records": [tensor]}
    bits = BITS[given.quantization]
    metadata = {"ParamSize": 1, "ParamBytes": float(len(data)), "BitsPerParam": bits}
    (given.output / "tensor-cache.json").write_text(json.dumps({"metadata": metadata, "records": [shard]}), "utf-8")


def gen_config(given: argparse.Namespace) -> None:
    config = json.loads((given.source / "config.json").read_text("utf-8"))
    found = [name for name in (*TOKENIZER_FILES, "tokenizer_config.json") if (given.source / name).is_file()]
    for name in found:
        shutil.copy(given.source / name, given.output / name)
    window = given.context_window_size or config.get("max_position_embeddings", 2048)
    made = {
        "version": "0.1.0", "model_type": config["model_type"], "quantization": given.quantization,
        "model_config": {"context_window_size": window}, "vocab_size": config["vocab_size"],
        "context_window_size": window, "sliding_window_size": -1, "prefill_chunk_size": 128,
        "attention_sink_size": -1, "tensor_parallel_shards": 1, "temperature": 1.0, "tokenizer_files": found,
        "conv_template": {"name": given.conv_template, "stop_str": [], "stop_token_ids": [2]},
        "eos_token_id": config.get("eos_token_id"), "bos_token_id": config.get("bos_token_id"),
    }  # fmt: skip
    (given.output / "mlc-chat-config.json").write_text(json.dumps(made, indent=2), "utf-8")


def compile_library(given: argparse.Namespace) -> None:
    given.output.write_bytes(b"a library that nobody loads")


if __name__ == "__main__":
    main()
