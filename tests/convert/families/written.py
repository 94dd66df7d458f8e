"""The shortest road from a checkpoint to a GGUF file: the rules of a family, and bytes for a vocabulary."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from localllm.convert.config import Config
from localllm.convert.families.base import Layout, TensorRule
from localllm.convert.families.registry import family_of
from tests.tiny import SPECIAL, byte_names

Weights = NDArray[np.float32]


def layout_of(folder: Path) -> tuple[str, Layout]:
    """The architecture and the layout that config.json leads to."""
    config = Config(json.loads((folder / "config.json").read_text("utf-8")))
    family = family_of(config.model_class)
    return family.architecture, family.layout(config)


def write(folder: Path, path: Path, *, is_short: bool = False) -> Path:
    """Convert; `is_short` writes matrices as BF16. Every tensor of the checkpoint must be told of by a rule."""
    architecture, layout = layout_of(folder)
    writer = gguf.GGUFWriter(str(path), architecture)
    _add_metadata(writer, layout)
    _add_vocabulary(writer, layout.vocabulary)
    for made in layout.made:
        writer.add_tensor(made.target, made.values)
    weights = _weights_of(folder, layout)
    for rule in layout.tensors:
        if rule.source in weights or not rule.is_optional:
            _add_tensor(writer, rule, weights.pop(rule.source), is_short=is_short)
    assert not weights, f"no rule tells of {sorted(weights)}"
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _weights_of(folder: Path, layout: Layout) -> dict[str, Weights]:
    found: dict[str, Any] = load_file(folder / "model.safetensors")
    return {layout.source(name): found[name] for name in found if not name.startswith(layout.dropped)}


def _add_tensor(writer: gguf.GGUFWriter, rule: TensorRule, weights: Weights, *, is_short: bool) -> None:
    assert weights.shape == rule.shape, rule.source
    values = weights.astype(np.float32)
    if rule.paired_heads:
        halves = values.reshape(rule.paired_heads, 2, -1, *values.shape[1:])
        values = halves.swapaxes(1, 2).reshape(values.shape)
    values = np.ascontiguousarray(values + np.float32(rule.added))
    if is_short and values.ndim > 1:
        short = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(rule.target, gguf.quants.quantize(values, short), raw_dtype=short)
    else:
        writer.add_tensor(rule.target, values)


def _add_metadata(writer: gguf.GGUFWriter, layout: Layout) -> None:
    for key, value in layout.metadata.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_string(key, value)


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    tokens = [*SPECIAL, *byte_names()]
    padding = [f"[PAD{number}]" for number in range(len(tokens), size)]
    types = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * 256
    writer.add_name("tiny")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, *padding])
    writer.add_token_types([*types, *[gguf.TokenType.UNUSED] * len(padding)])
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
