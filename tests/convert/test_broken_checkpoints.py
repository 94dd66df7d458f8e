"""Checkpoints that are broken, lie, or are none: one error that names the culprit, and no file."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from localllm.convert.checkpoint import files_of
from localllm.convert.convert import convert
from localllm.errors import LoadFailed
from tests.convert.checkpoints import (
    TOKENS,
    WIDTH,
    Stored,
    safetensors_bytes,
    stored,
    tiny_config,
    tiny_weights,
    tokenizer_json,
    write_checkpoint,
    write_json,
)

Break = Callable[[Path], object]
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
UP = "model.layers.1.mlp.up_proj.weight"


def config(**changes: object) -> Break:
    return lambda folder: write_json(folder / "config.json", tiny_config(**changes))


def file(name: str, data: bytes | str) -> Break:
    return lambda folder: (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def gone(*names: str) -> Break:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def weights(**changes: Stored | None) -> Break:
    """Other tensors, by names with __ for dots; None takes one away."""

    def rewrite(folder: Path) -> None:
        named = {name.replace("__", "."): tensor for name, tensor in changes.items()}
        changed = {name: tensor for name, tensor in (tiny_weights() | named).items() if tensor is not None}
        (folder / SINGLE).write_bytes(safetensors_bytes(changed))

    return rewrite


def spoilt(dtype: str, bits: int, *place: int, name: str = UP) -> Break:
    """One number of a tensor is these bits."""

    def rewrite(folder: Path) -> None:
        every = tiny_weights(dtype)
        numbers = np.frombuffer(every[name].data, f"<u{4 if dtype == 'F32' else 2}").reshape(every[name].shape).copy()
        numbers[place] = bits
        every[name] = Stored(dtype, numbers.shape, numbers.tobytes())
        (folder / SINGLE).write_bytes(safetensors_bytes(every))

    return rewrite


def cut(name: str, length: int) -> Break:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def appended(name: str, data: bytes) -> Break:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + data)


def index(change: Callable[[dict[str, str]], object]) -> Break:
    """Another weight map."""

    def rewrite(folder: Path) -> None:
        whole = json.loads((folder / INDEX).read_text("utf-8"))
        change(whole["weight_map"])
        write_json(folder / INDEX, whole)

    return rewrite


def tokenizer(change: Callable[[dict[str, object]], object]) -> Break:
    def rewrite(folder: Path) -> None:
        whole = tokenizer_json()
        change(whole)
        write_json(folder / "tokenizer.json", whole)

    return rewrite


def in_turn(*breaks: Break) -> Break:
    def apply(folder: Path) -> None:
        for each in breaks:
            each(folder)

    return apply


def of(dtype: str, count: int) -> Stored:
    return Stored(dtype, (count,), bytes(count * {"I8": 1, "F8_E4M3": 1, "I32": 4, "F64": 8}[dtype]))


WHOLE: dict[str, tuple[Break, str]] = {
    "no config": (gone("config.json"), r"there is no config\.json"),
    "an empty config": (file("config.json", ""), r"config\.json cannot be read as JSON"),
    "half a config": (file("config.json", '{"architectures": ["Lla'), r"config\.json cannot be read as JSON"),
    "a config that is a list": (file("config.json", "[]"), r"config\.json holds no JSON object"),
    "a config that is no UTF-8": (file("config.json", b'{"a": "\xff"}'), r"config\.json cannot be read as JSON"),
    "a config as a web page": (file("config.json", "<!DOCTYPE html>"), r"config\.json cannot be read as JSON"),
    "a deep config": (file("config.json", "[" * 10**5), r"config\.json cannot be read as JSON"),
    "a key twice": (file("config.json", '{"a": 1, "a": 2}'), "'a' stands twice"),
    "a huge config": (file("config.json", " " * 2_000_000), r"config\.json has 2000000 bytes"),
    "an enormous config": (file("config.json", " " * 20_000_000), r"cannot read config\.json"),
    "no architecture": (config(architectures=None), r"config\.json names no architecture"),
    "an architecture that is a text": (config(architectures="LlamaForCausalLM"), "names no architecture"),
    "an unknown architecture": (config(architectures=["RwkvForCausalLM"]), "RwkvForCausalLM.*LlamaForCausalLM"),
    "a missing size": (config(hidden_size=None), r"config\.json lacks hidden_size"),
    "a size that is a text": (config(hidden_size="64"), r"config\.json: hidden_size is '64'"),
    "a size that is a fraction": (config(hidden_size=64.5), r"config\.json: hidden_size is '64\.5'"),
    "a size of zero": (config(hidden_size=0), r"config\.json: hidden_size is '0'"),
    "a size below zero": (config(intermediate_size=-1), r"config\.json: intermediate_size is '-1'"),
    "an endless size": (config(intermediate_size=2**31 - 1), r"tensor '.*mlp.*_proj\.weight' has the shape"),
    "another size": (config(intermediate_size=256), r"the shape \[\d+, \d+\], config\.json makes it \[.*256"),
    "endless layers": (config(num_hidden_layers=2**31 - 1), "num_hidden_layers|lacks the tensor"),
    "more layers than there are": (config(num_hidden_layers=3), r"lacks the tensor 'model\.layers\.2\..* and 8 more"),
    "fewer layers than there are": (config(num_hidden_layers=1), r"has the tensor 'model\.layers\.1\..* and 8 more"),
    "heads that do not share": (config(num_attention_heads=3), r"config\.json|self_attn"),
    "a norm without a number": (config(rms_norm_eps="NaN"), r"config\.json: rms_norm_eps is 'NaN'"),
    "an endless norm": (
        file("config.json", json.dumps(tiny_config(rms_norm_eps=float("inf")))),
        r"config\.json: rms_norm_eps is 'inf'",
    ),
    "another vocabulary": (config(vocab_size=len(TOKENS) + 1), r"embed_tokens\.weight' has the shape"),
    "an endless vocabulary": (config(vocab_size=2**31 - 1), r"embed_tokens\.weight' has the shape"),
    "GPTQ": (config(quantization_config={"quant_method": "gptq", "bits": 4}), r"quantized already \(gptq\).*original"),
    "AWQ": (config(quantization_config={"quant_method": "awq"}), r"quantized already \(awq\).*original"),
    "FP8": (config(quantization_config={"quant_method": "fp8"}), r"quantized already \(fp8\).*original"),
    "bitsandbytes": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        r"quantized already \(bitsandbytes\)",
    ),
    "MXFP4": (config(quantization_config={"quant_method": "mxfp4"}), r"quantized already \(mxfp4\)"),
    "a nameless quantization": (config(quantization_config={"bits": 4}), "quantized already"),
    "an inner quantization": (
        config(text_config={"quantization_config": {"quant_method": "awq"}}),
        r"quantized already \(awq\)",
    ),
    "a quantization that is a text": (config(quantization_config="int8"), "quantization_config is 'int8'"),
    "an older quantization": (file("quantize_config.json", "{}"), r"quantize_config\.json says .* quantized already"),
    "no weights": (gone(SINGLE), r"there are no \.safetensors files"),
    "a pickle only": (
        in_turn(gone(SINGLE), file("pytorch_model.bin", b"PK\3\4")),
        r"pytorch_model\.bin is not read: such files can run code",
    ),
    "another pickle only": (in_turn(gone(SINGLE), file("consolidated.00.pth", b"PK")), r"00\.pth is not read"),
    "arrays of numpy only": (in_turn(gone(SINGLE), file("model.npz", b"PK")), r"model\.npz is not read"),
    "an adapter": (
        in_turn(gone(SINGLE, "config.json"), file("adapter_config.json", "{}"), file("adapter_model.safetensors", "")),
        r"LoRA adapter \(adapter_config\.json\)",
    ),
    "an adapter with a config": (in_turn(gone(SINGLE), file("adapter_model.safetensors", "")), "LoRA adapter"),
    "no tensors": (file(SINGLE, safetensors_bytes({})), rf"{SINGLE} holds no tensors"),
    "empty weights": (file(SINGLE, b""), f"{SINGLE} has 0 bytes"),
    "a git-lfs pointer": (
        file(SINGLE, "version https://git-lfs.github.com/spec/v1\n"),
        f"{SINGLE} is a git-lfs pointer",
    ),
    "a cut length": (cut(SINGLE, 5), f"{SINGLE} has 5 bytes"),
    "a cut header": (cut(SINGLE, 100), f"{SINGLE} claims a header of"),
    "cut data": (cut(SINGLE, 90_000), f"{SINGLE} ends before its tensor"),
    "more data": (appended(SINGLE, b"\0"), f"{SINGLE} goes on for 1 bytes"),
    "a missing tensor": (weights(**{UP: None}), f"lacks the tensor '{UP}'"),
    "an unknown tensor": (weights(model__extra__weight=of("F64", 0)), r"'model\.extra\.weight'"),
    "an unknown bias": (
        weights(model__layers__0__self_attn__q_proj__bias=stored(np.ones(WIDTH, np.float32), "BF16")),
        r"has the tensor 'model\.layers\.0\.self_attn\.q_proj\.bias', which models of this kind do not have",
    ),
    "a wrong shape": (
        weights(**{UP: stored(np.ones((WIDTH, 128), np.float32), "BF16")}),
        rf"'{UP}' has the shape \[64, 128\], config\.json makes it \[128, 64\]",
    ),
    "a wrong number of dimensions": (
        weights(model__norm__weight=stored(np.ones((1, WIDTH), np.float32), "BF16")),
        r"'model\.norm\.weight' has the shape \[1, 64\], config\.json makes it \[64\]",
    ),
    "weights in F8": (weights(**{UP: of("F8_E4M3", 8192)}), f"'{UP}' is of the type F8_E4M3, .*quantized already"),
    "weights in I8": (weights(**{UP: of("I8", 8192)}), f"'{UP}' is of the type I8, .*take the original"),
    "packed weights": (weights(**{UP: None, "model__packed": of("I32", 9)}), "'model.packed' is of the type I32"),
    "weights in F64": (weights(**{UP: of("F64", 8192)}), f"'{UP}' is of the type F64, .*save it as F32"),
    "a BF16 NaN": (spoilt("BF16", 0x7FC0, 5, 7), rf"'{UP}' is NaN at \[5, 7\]"),
    "a negative BF16 NaN": (spoilt("BF16", 0xFF81, 0, 0), rf"'{UP}' is NaN at \[0, 0\]"),
    "an infinite BF16": (spoilt("BF16", 0xFF80, 127, 63), rf"'{UP}' is infinite at \[127, 63\]"),
    "an F16 NaN": (spoilt("F16", 0x7E00, 5, 7), rf"'{UP}' is NaN at \[5, 7\]"),
    "an infinite F16": (spoilt("F16", 0x7C00, 5, 7), rf"'{UP}' is infinite at \[5, 7\]"),
    "an F32 NaN": (spoilt("F32", 0x7F80_0001, 5, 7), rf"'{UP}' is NaN at \[5, 7\]"),
    "an infinite F32": (spoilt("F32", 0xFF80_0000, 5, 7), rf"'{UP}' is infinite at \[5, 7\]"),
    "a NaN in a norm": (
        spoilt("BF16", 0x7FFF, 63, name="model.norm.weight"),
        r"'model\.norm\.weight' is NaN at \[63\]",
    ),
    "a NaN in rows that move": (
        spoilt("BF16", 0x7FFF, 30, 3, name="model.layers.0.self_attn.q_proj.weight"),
        r"'model\.layers\.0\.self_attn\.q_proj\.weight' is NaN at \[30, 3\]",
    ),
    "no tokenizer": (gone("tokenizer.json"), "tokenizer"),
    "half a tokenizer": (file("tokenizer.json", '{"model": {'), r"tokenizer\.json"),
    "a tokenizer that is a list": (file("tokenizer.json", "[]"), r"tokenizer\.json"),
    "a tokenizer without a model": (tokenizer(lambda whole: whole.pop("model")), r"tokenizer\.json"),
    "a token beyond the model": (
        tokenizer(lambda whole: whole["model"]["vocab"].update({"more": len(TOKENS)})),  # type: ignore[index]
        r"tokenizer",
    ),
    "a token of a far number": (
        tokenizer(lambda whole: whole["model"]["vocab"].update({"far": 2**40})),  # type: ignore[index]
        r"tokenizer",
    ),
    "a token below zero": (
        tokenizer(lambda whole: whole["model"]["vocab"].update({"hello": -1})),  # type: ignore[index]
        r"tokenizer",
    ),
}

SHARDED: dict[str, tuple[Break, str]] = {
    "a shard is missing": (gone(SHARDS[1]), f"names {SHARDS[1]}, which is missing"),
    "a shard is cut": (cut(SHARDS[2], 3000), f"{SHARDS[2]} ends before its tensor"),
    "a shard is another": (
        lambda folder: (folder / SHARDS[1]).write_bytes((folder / SHARDS[2]).read_bytes()),
        f"says that {SHARDS[1]} holds",
    ),
    "the index is a list": (file(INDEX, "[]"), "index"),
    "the index is half": (file(INDEX, '{"weight_map": {"a'), f"{INDEX}: the shard index cannot be read"),
    "the index is empty": (file(INDEX, '{"weight_map": {}}'), f"{INDEX}: the shard index cannot be read"),
    "the index has no map": (file(INDEX, '{"metadata": {}}'), f"{INDEX}: the shard index cannot be read"),
    "the index leads elsewhere": (
        index(lambda map_: map_.update({UP: "../other.safetensors"})),
        "'../other.safetensors'",
    ),
    "the index leads to a pickle": (index(lambda map_: map_.update({UP: "pytorch_model.bin"})), "pytorch_model.bin"),
    "the index names a tensor that is not there": (
        index(lambda map_: map_.update({"model.more": SHARDS[0]})),
        f"says that {SHARDS[0]} holds 'model.more', which it does not",
    ),
    "the index names the wrong shard": (
        index(lambda map_: map_.update({"model.norm.weight": SHARDS[0]})),
        r"'model\.norm\.weight'",
    ),
    "a tensor is in no index": (index(lambda map_: map_.pop(UP)), f"holds '{UP}', which {INDEX} does not say"),
    "the index names a tensor twice": (
        lambda folder: (folder / INDEX).write_text(
            (folder / INDEX).read_text("utf-8").replace('"lm_head.weight"', f'"{UP}"'), "utf-8"
        ),
        f"'{UP}' stands twice",
    ),
    "two shards hold a tensor": (
        in_turn(
            gone(INDEX),
            file("more.safetensors", safetensors_bytes({UP: tiny_weights()[UP]})),
        ),
        rf"safetensors and more\.safetensors both hold the tensor '{UP}'",
    ),
    "a shard without an index is missing": (gone(INDEX, SHARDS[0]), "lacks the tensor"),
}

CASES = {
    **{name: (1, *case) for name, case in WHOLE.items()},
    **{name: (3, *case) for name, case in SHARDED.items()},
}


@pytest.mark.parametrize(("shards", "break_", "words"), CASES.values(), ids=CASES.keys())
def test_what_is_broken_is_refused(tmp_path: Path, shards: int, break_: Break, words: str) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", shards=shards)
    break_(folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(LoadFailed, match=words) as caught:
        convert(files_of(folder), tmp_path / "model.gguf", on_tensor=lambda *_: None)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("shards", [1, 3])
def test_what_is_whole_is_not(tmp_path: Path, shards: int) -> None:
    """The table is about what was broken."""
    folder = write_checkpoint(tmp_path / "checkpoint", shards=shards)
    convert(files_of(folder), tmp_path / "model.gguf", on_tensor=lambda *_: None)


@pytest.mark.parametrize("share", [number / 8 for number in range(8)])
def test_weights_cut_anywhere_are_refused(tmp_path: Path, share: float) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    whole = (folder / SINGLE).read_bytes()
    (folder / SINGLE).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(LoadFailed, match=SINGLE):
        convert(files_of(folder), tmp_path / "model.gguf", on_tensor=lambda *_: None)
    assert not (tmp_path / "model.gguf").exists()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(LoadFailed, match="is no folder"):
            files_of(path)


def test_what_lies_beside_is_not_looked_at(tmp_path: Path) -> None:
    """Where the weights are named, other forms of them do not matter, nor do folders or hidden files."""
    folder = write_checkpoint(tmp_path / "checkpoint")
    for name in ("pytorch_model.bin", "model.fp16.safetensors", "consolidated.safetensors", ".model.safetensors.part"):
        (folder / name).write_bytes(b"no weights")
    (folder / "original").mkdir()
    (folder / "onnx.safetensors").mkdir()
    convert(files_of(folder), tmp_path / "model.gguf", on_tensor=lambda *_: None)
    assert (tmp_path / "model.gguf").exists()
