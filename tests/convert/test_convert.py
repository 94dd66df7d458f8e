"""From a checkpoint to a GGUF file: every number, the metadata, the vocabulary, and nothing left after a failure."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.convert import slabs
from localllm.convert.checkpoint import files_of
from localllm.convert.convert import Conversion, convert
from localllm.errors import InvalidRequest, LoadFailed
from tests.convert.checkpoints import (
    HEADS,
    KV_HEADS,
    LAYERS,
    TOKENS,
    WIDTH,
    Stored,
    stored,
    tiny_config,
    tiny_shapes,
    tiny_weights,
    with_header,
    write_checkpoint,
)
from tests.convert.families.native_scores import native_scores
from tests.tiny import TEMPLATE

FORMS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def converted(
    folder: Path, target: Path, wanted: str = "auto", *, name: str = "Tiny", metadata: Mapping[str, str] | None = None
) -> Conversion:
    return convert(files_of(folder), target, type=wanted, name=name, metadata=metadata or {}, on_tensor=lambda *_: None)


def tensors_of(path: Path) -> dict[str, gguf.ReaderTensor]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def values_of(path: Path) -> dict[str, object]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def numbers(tensor: Stored) -> NDArray[np.float32]:
    """The values of a tensor of a checkpoint, by another way than the converter's."""
    raw = np.frombuffer(tensor.data, FORMS[tensor.dtype]).reshape(tensor.shape)
    if tensor.dtype == "BF16":
        raw = (raw.astype(np.uint32) * 65536).view(np.float32)
    return np.asarray(raw, np.float32)


def expected_tensors(weights: Mapping[str, Stored]) -> dict[str, NDArray[np.float32]]:
    """By the names of the GGUF file, with the rows of queries and keys as ggml rotates them."""
    names = {
        "input_layernorm": "attn_norm",
        "mlp.down_proj": "ffn_down",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.k_proj": "attn_k",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_proj": "attn_q",
        "self_attn.v_proj": "attn_v",
    }
    found = {
        "token_embd.weight": numbers(weights["model.embed_tokens.weight"]),
        "output_norm.weight": numbers(weights["model.norm.weight"]),
    }
    if "lm_head.weight" in weights:
        found["output.weight"] = numbers(weights["lm_head.weight"])
    for layer in range(LAYERS):
        for source, target in names.items():
            found[f"blk.{layer}.{target}.weight"] = numbers(weights[f"model.layers.{layer}.{source}.weight"])
        for target, heads in (("attn_q", HEADS), ("attn_k", KV_HEADS)):
            rows = found[f"blk.{layer}.{target}.weight"]
            halves = rows.reshape(heads, 2, -1, WIDTH)
            found[f"blk.{layer}.{target}.weight"] = np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(rows.shape)
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("most", [1, 100, 4 * 2**20])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_every_number_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, most: int, shards: int
) -> None:
    """In the checkpoint's own type, bit by bit, whatever the size of the pieces and the number of files."""
    monkeypatch.setattr(slabs, "SLAB_VALUES", most if most > 1 else WIDTH)
    weights = tiny_weights(dtype)
    folder = write_checkpoint(tmp_path / "checkpoint", weights=weights, shards=shards)
    conversion = converted(folder, tmp_path / "model.gguf")
    found = tensors_of(tmp_path / "model.gguf")
    expected = expected_tensors(weights)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        kind = "F32" if len(expected[name].shape) == 1 else dtype
        assert (tensor.tensor_type.name, tuple(tensor.shape[::-1])) == (kind, expected[name].shape), name
        assert tensor.data.tobytes() == stored(expected[name], kind).data, name
    assert conversion == Conversion(
        architecture="llama", type=dtype, tensors=21, size_bytes=(tmp_path / "model.gguf").stat().st_size
    )


@pytest.mark.parametrize("wanted", ["F32", "F16", "BF16", "f16"])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_every_type_becomes_every_other(tmp_path: Path, dtype: str, wanted: str) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", weights=tiny_weights(dtype))
    assert converted(folder, tmp_path / "model.gguf", wanted).type == wanted.upper()
    expected = expected_tensors(tiny_weights(dtype))
    for name, tensor in tensors_of(tmp_path / "model.gguf").items():
        values = expected[name]
        if values.ndim == 1:
            data = values.tobytes()
        elif wanted == "BF16":
            data = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16).tobytes()
        else:
            data = values.astype(FORMS[wanted.upper()]).tobytes()
        assert tensor.data.tobytes() == data, name


@pytest.mark.parametrize(
    ("mix", "expected"),
    [({"F32"}, "F32"), ({"F32", "F16"}, "F16"), ({"F32", "BF16"}, "BF16"), ({"F16", "BF16", "F32"}, "BF16")],
)
def test_auto_follows_the_checkpoint(tmp_path: Path, mix: set[str], expected: str) -> None:
    by_type = [tiny_weights(dtype) for dtype in sorted(mix)]
    weights = {name: by_type[place % len(by_type)][name] for place, name in enumerate(tiny_shapes())}
    folder = write_checkpoint(tmp_path / "checkpoint", weights=weights)
    assert converted(folder, tmp_path / "model.gguf").type == expected
    kinds = {tensor.tensor_type.name for tensor in tensors_of(tmp_path / "model.gguf").values()}
    assert kinds == {"F32", expected}


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    metadata = {"license": "apache-2.0", "base_model.0.name": "Base", "base_model.1.name": "Other", "author": ""}
    converted(folder, tmp_path / "model.gguf", metadata=metadata)
    values = values_of(tmp_path / "model.gguf")
    assert {key: value for key, value in values.items() if key.startswith("general.")} == {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "Tiny",
        "general.license": "apache-2.0",
        "general.base_model.0.name": "Base",
        "general.base_model.1.name": "Other",
        "general.base_model.count": 2,
        "general.file_type": 32,
        "general.quantization_version": 2,
    }
    assert values["llama.block_count"] == LAYERS
    assert values["llama.attention.head_count_kv"] == KV_HEADS
    assert values["llama.attention.layer_norm_rms_epsilon"] == np.float32(1e-5)


def test_the_vocabulary_is_in_it(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    converted(folder, tmp_path / "model.gguf")
    values = values_of(tmp_path / "model.gguf")
    assert values["tokenizer.ggml.model"] == "gpt2"
    assert values["tokenizer.ggml.tokens"] == TOKENS
    assert values["tokenizer.ggml.merges"] == ["h e", "l l", "he ll", "hell o"]
    assert values["tokenizer.ggml.token_type"] == [3] * 3 + [1] * (len(TOKENS) - 3)
    assert (values["tokenizer.ggml.bos_token_id"], values["tokenizer.ggml.eos_token_id"]) == (0, 2)
    assert values["tokenizer.chat_template"] == TEMPLATE


def test_the_same_files_make_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also cut otherwise, from links to nameless files, and by another process with other hashes."""
    weights = tiny_weights()
    folder = write_checkpoint(tmp_path / "one", weights=weights)
    converted(folder, tmp_path / "one.gguf")
    blobs: dict[str, Path] = {}
    for number, (name, path) in enumerate(files_of(folder).items()):
        blobs[name] = tmp_path / f"blob{number}"
        blobs[name].symlink_to(path)
    with monkeypatch.context() as context:
        context.setattr(slabs, "SLAB_VALUES", 77)
        convert(blobs, tmp_path / "two.gguf", name="Tiny", on_tensor=lambda *_: None)
    shards = write_checkpoint(tmp_path / "three", weights=weights, shards=5)
    subprocess.run(
        [sys.executable, "-c", _CONVERT, str(shards), str(tmp_path / "three.gguf"), "auto"],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
        timeout=60,
    )
    assert len({digest(tmp_path / f"{name}.gguf") for name in ("one", "two", "three")}) == 1


_CONVERT = """
import sys
from pathlib import Path
from localllm.convert.checkpoint import files_of
from localllm.convert.convert import convert
folder, target, wanted = sys.argv[1:]
convert(files_of(Path(folder)), Path(target), type=wanted, name="Tiny", on_tensor=lambda *_: None)
"""


def test_progress_counts_tensors(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    heard: list[tuple[int, int, str]] = []
    convert(files_of(folder), tmp_path / "model.gguf", on_tensor=lambda *what: heard.append(what))
    assert [(done, total) for done, total, _ in heard] == [(done, 21) for done in range(1, 22)]
    assert [name for *_, name in heard] == list(tensors_of(tmp_path / "model.gguf"))


def test_a_head_that_repeats_the_embedding_is_left_out(tmp_path: Path) -> None:
    """Whether it is saved or not."""
    tied = tiny_config(tie_word_embeddings=True)
    with_head = write_checkpoint(tmp_path / "with", config=tied)
    weights = tiny_weights()
    del weights["lm_head.weight"]
    without = write_checkpoint(tmp_path / "without", config=tied, weights=weights)
    for folder in (with_head, without):
        converted(folder, tmp_path / f"{folder.name}.gguf")
    assert "output.weight" not in tensors_of(tmp_path / "with.gguf")
    assert digest(tmp_path / "with.gguf") == digest(tmp_path / "without.gguf")


def test_buffers_that_anyone_can_compute_are_left_out(tmp_path: Path) -> None:
    weights = tiny_weights()
    plain = write_checkpoint(tmp_path / "plain", weights=weights)
    for layer in range(LAYERS):
        weights[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = Stored("F64", (8,), bytes(64))
    buffered = write_checkpoint(tmp_path / "buffered", weights=weights)
    for folder in (plain, buffered):
        converted(folder, tmp_path / f"{folder.name}.gguf")
    assert digest(tmp_path / "plain.gguf") == digest(tmp_path / "buffered.gguf")


@pytest.mark.parametrize("name", ["phi-3 like", "My-Phi3", "PHI-3"])
def test_a_name_does_not_make_llama_cpp_look_for_tokens_of_phi_3(tmp_path: Path, name: str) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    converted(folder, tmp_path / "model.gguf", name=name)
    written = str(values_of(tmp_path / "model.gguf")["general.name"])
    assert written.lower() == name.lower().replace("phi-3", "phi 3").replace("phi3", "phi 3")


@pytest.mark.parametrize("key", ["architecture", "file_type", "alignment", "type", "no key", "Upper", "", "a..b"])
def test_the_file_decides_what_it_is(tmp_path: Path, key: str) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(InvalidRequest, match="cannot be given"):
        converted(folder, tmp_path / "model.gguf", metadata={key: "value"})
    assert not (tmp_path / "model.gguf").exists()


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(InvalidRequest, match="'Q4_K_M'; say one of auto, F32, F16, BF16"):
        converted(folder, tmp_path / "model.gguf", "Q4_K_M")


def test_the_checkpoint_is_not_written_over(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    before = {path.name: digest(path) for path in folder.iterdir()}
    with pytest.raises(InvalidRequest, match=r"is model\.safetensors of the checkpoint itself"):
        converted(folder, folder / "model.safetensors")
    assert {path.name: digest(path) for path in folder.iterdir()} == before


@pytest.mark.parametrize(("value", "count"), [(65504.0, 0), (65519.0, 0), (65536.0, 2), (-1e30, 2)])
def test_what_f16_cannot_hold_is_counted_and_refused(tmp_path: Path, value: float, count: int) -> None:
    weights = tiny_weights("F32")
    name = "model.layers.1.mlp.up_proj.weight"
    values = numbers(weights[name]).copy()
    values[0, 3] = values[100, 63] = value
    weights[name] = stored(values, "F32")
    folder = write_checkpoint(tmp_path / "checkpoint", weights=weights)
    target = tmp_path / "model.gguf"
    if count:
        with pytest.raises(LoadFailed, match=rf"^{count} values of the tensor '{name}' are too large for F16; .*BF16"):
            converted(folder, target, "F16")
        assert not target.exists()
    else:
        converted(folder, target, "F16")
        assert np.isfinite(tensors_of(target)["blk.1.ffn_up.weight"].data).all()
    assert converted(folder, target, "BF16").type == "BF16"


def test_what_bf16_cannot_hold_is_refused(tmp_path: Path) -> None:
    weights = tiny_weights("F32")
    weights["lm_head.weight"] = stored(np.full((len(TOKENS), WIDTH), 3.4e38, np.float32), "F32")
    folder = write_checkpoint(tmp_path / "checkpoint", weights=weights)
    with pytest.raises(LoadFailed, match="too large for BF16; convert to F32 instead"):
        converted(folder, tmp_path / "model.gguf", "BF16")
    assert converted(folder, tmp_path / "model.gguf", "F32").type == "F32"


def test_llama_cpp_loads_it_and_answers(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    converted(folder, tmp_path / "model.gguf", name="phi-3 in name alone")
    scores = native_scores(tmp_path / "model.gguf", [3, 4, 5], 256)
    assert scores.shape == (3, len(TOKENS))
    assert np.isfinite(scores).all()


@pytest.mark.slow
def test_llama_cpp_answers_as_transformers_does(tmp_path: Path) -> None:
    """The whole road: from the same files to the same logits."""
    torch = pytest.importorskip("torch", reason="torch is the other opinion")
    transformers = pytest.importorskip("transformers", reason="transformers is the other opinion")
    torch.set_num_threads(1)
    folder = write_checkpoint(tmp_path / "checkpoint", weights=tiny_weights("F32"), shards=2)
    converted(folder, tmp_path / "model.gguf")
    tokens = np.random.default_rng(0).integers(3, len(TOKENS), 100).tolist()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0].numpy()
    found = native_scores(tmp_path / "model.gguf", tokens, 256)
    assert expected.std() > 0.5
    assert np.abs(found - expected).max() < 1e-3 * expected.std()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """Tensors of 128 MiB in float32, and heads larger than a piece, in a process that takes less than one more."""
    pytest.importorskip("resource", reason="it tells what a process took at most")
    width, feed_forward, head = 256, 2**17, 2**15
    config = tiny_config(
        hidden_size=width, intermediate_size=feed_forward, head_dim=head, num_attention_heads=2, num_key_value_heads=1
    )
    sizes = {"q_proj": (2 * head, width), "o_proj": (width, 2 * head), "k_proj": (head, width), "v_proj": (head, width)}
    sizes |= {"up_proj": (feed_forward, width), "gate_proj": (feed_forward, width), "down_proj": (width, feed_forward)}
    shapes = {name: sizes.get(name.split(".")[-2], (*shape[:-1], width)) for name, shape in tiny_shapes().items()}
    large = write_checkpoint(tmp_path / "large", config=config)
    write_zeros(large / "model.safetensors", shapes)
    tiny_peak, large_peak = (
        peak_bytes(folder, tmp_path / "model.gguf") for folder in (write_checkpoint(tmp_path / "tiny"), large)
    )
    assert (tmp_path / "model.gguf").stat().st_size > 2**29
    assert large_peak - tiny_peak < 96 * 2**20


def write_zeros(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A file of zeros that takes no room on most disks."""
    place, entries = 0, {}
    for name, shape in shapes.items():
        end = place + 2 * int(np.prod(shape))
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (place, end)}
        place = end
    path.write_bytes(with_header(json.dumps(entries).encode(), b""))
    os.truncate(path, path.stat().st_size + place)


def peak_bytes(folder: Path, target: Path) -> int:
    """What a process takes at most that converts to F32."""
    script = f"{_CONVERT}\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    command = [sys.executable, "-c", script, str(folder), str(target), "F32"]
    peak = int(subprocess.run(command, check=True, timeout=100, capture_output=True, text=True).stdout)
    return peak if sys.platform == "darwin" else peak * 1024
