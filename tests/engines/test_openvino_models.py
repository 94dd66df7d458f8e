"""GGUF files as graphs of OpenVINO: the same logits as llama.cpp's, and what is not known is refused by name."""

import hashlib
import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Quant

from localllm.engines.base import Batch
from localllm.engines.kind import is_pipeline
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_engine, load_runner
from localllm.errors import LoadFailed
from localllm.inference.pipelined import PipelinedEngine
from tests.engines.contract import ask
from tests.engines.loading import outcomes
from tests.engines.openvino_models import HEAD_WIDTH, Numbers, skip_without_openvino, write_model
from tests.tiny import LAYERS, write_tiny_model

skip_without_openvino()

import openvino as ov  # noqa: E402  # not before it is known to be here
import openvino_genai  # noqa: E402

from localllm.engines.openvino.blocks import QUANTIZED, take_apart  # noqa: E402
from localllm.engines.openvino.grammar_vocabulary import grammar_tokenizer  # noqa: E402
from localllm.engines.openvino.graph import build_graph  # noqa: E402
from localllm.engines.openvino.loading import Target  # noqa: E402
from localllm.engines.openvino.memory import piece_tokens  # noqa: E402
from localllm.engines.openvino.shape import read_model  # noqa: E402
from localllm.engines.openvino.tensors import TensorReader  # noqa: E402
from localllm.engines.openvino.vocabulary import GgufTokenizer  # noqa: E402

TOKENS = tuple(3 + (7 * i * i) % 256 for i in range(70))
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "KV_CACHE_PRECISION": "f32"}


def ours(path: Path) -> Numbers:
    """Logits after each token, from the graph without its scheduler, in two calls: the second goes on from the KV."""
    model = read_model(path)
    tensors = TensorReader(model)
    request = ov.Core().compile_model(build_graph(model.shape, tensors), "CPU", EXACT).create_infer_request()
    tensors.close()
    rows: list[Numbers] = []
    for first, last in ((0, 40), (40, len(TOKENS))):
        inputs = {
            "input_ids": np.array([TOKENS[first:last]], np.int64),
            "attention_mask": np.ones((1, last), np.int64),
            "position_ids": np.arange(first, last, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        rows.append(np.array(request.infer(inputs)["logits"])[0])
    return np.concatenate(rows)


def theirs(path: Path) -> Numbers:
    """The same of llama.cpp."""
    plan = LoadPlan(engine="llama_cpp", path=str(path), threads=1, max_jobs=1, flash_attention=False)
    runner = load_runner(plan, lambda _: None)
    batch = Batch(len(TOKENS))
    batch.add(0, 0, TOKENS, logits=len(TOKENS))
    logits = runner.decode(batch).copy()
    runner.close()
    return logits


def difference(one: Numbers, other: Numbers) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


FACTORS = {"rope_freqs.weight": np.linspace(1, 8, HEAD_WIDTH // 2).astype(np.float32)}


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("is_tied", [False, True])
def test_architectures_compute_what_llama_cpp_does(tmp_path: Path, architecture: str, is_tied: bool) -> None:
    path = write_model(tmp_path / "a.gguf", architecture, is_tied=is_tied)
    assert difference(ours(path), theirs(path)) < 1e-2  # llama.cpp keeps KV in float16


def test_scaled_rotations_compute_what_llama_cpp_does(tmp_path: Path) -> None:
    plain = theirs(write_model(tmp_path / "plain.gguf", "llama"))
    linear: dict[str, float | int | str] = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    for name, path in {
        "factors": write_model(tmp_path / "factors.gguf", "llama", tensors=FACTORS),
        "linear": write_model(tmp_path / "linear.gguf", "qwen2", numbers=linear),
    }.items():
        expected = theirs(path)
        assert difference(ours(path), expected) < 1e-2, name
        assert difference(plain, expected) > 5e-2, name


@pytest.mark.parametrize("quant", [Quant.F16, Quant.BF16, Quant.Q4_0, Quant.Q4_1, Quant.Q5_0, Quant.Q5_1, Quant.Q8_0])
def test_quantized_weights_compute_what_the_same_numbers_do(tmp_path: Path, quant: Quant) -> None:
    """llama.cpp rounds activations for quantized weights, so it gets the weights as they are after quantizing."""
    path = write_model(tmp_path / "quantized.gguf", "llama", quant=quant)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    plain = {name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for name, tensor in tensors.items()}
    expected = theirs(write_model(tmp_path / "plain.gguf", "llama", tensors=plain))
    assert difference(ours(path), expected) < 5e-2  # zero points are in float16, and random weights show it


@pytest.mark.parametrize("name", QUANTIZED)
def test_blocks_are_taken_apart_exactly(name: str) -> None:
    """Also random bytes, and groups whose scale is 0."""
    random = np.random.default_rng(3)
    block_bytes, _ = QUANTIZED[name]
    data = random.integers(0, 256, (300, block_bytes), dtype=np.uint8)
    for at in (208,) if name == "Q6_K" else (0, 2):
        data[:, at : at + 2] = random.uniform(-0.1, 0.1, (300, 1)).astype(np.float16).view(np.uint8)
    data[:5, 208 : 210 if name == "Q6_K" else 2] = 0
    data[:5, 0:2] = 0
    groups = take_apart(data.reshape(-1).copy(), name)
    zero = 0 if groups.zero is None else groups.zero[:, None]
    found = (groups.codes - zero) * groups.scale[:, None]
    expected = gguf.quants.dequantize(data, Quant[name]).reshape(found.shape)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert groups.codes.min() >= (-128 if groups.zero is None else 0)
    assert groups.codes.max() < 2**groups.bits


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"architecture": "gemma3"},
            r"of the architecture gemma3; OpenVINO runs llama, qwen2, qwen3.*--engine llama_cpp",
        ),
        ({"numbers": {"expert_count": 8}}, "llama.expert_count.*not known"),
        ({"numbers": {"rope.scaling.type": "yarn"}}, "'yarn'.*--engine llama_cpp"),
        ({"numbers": {"rope.dimension_count": 8}}, "only a part of each head"),
        ({"numbers": {"attention.head_count_kv": 3}}, "heads of a kind"),
        ({"tensors": {"blk.0.ffn_gate_exps.weight": np.ones((4, 4), np.float32)}}, "blk.0.ffn_gate_exps.weight"),
        ({"without": ("ffn_up.weight",)}, "no tensor blk.0.ffn_up.weight"),
        ({"without": ("blk.1.attn_norm.weight",)}, "no tensor blk.1.attn_norm.weight"),
        ({"tensors": {"blk.1.attn_v.weight": np.ones((32, 32), np.float32)}}, "blk.1.attn_v.weight is 32 × 32"),
        ({"tensors": {"output_norm.weight": np.ones(63, np.float32)}}, "output_norm.weight is 63, 64 is"),
    ],
)
def test_what_it_does_not_know_is_refused_by_name(tmp_path: Path, fields: dict[str, object], words: str) -> None:
    given = {"architecture": "llama", **fields}
    path = write_model(tmp_path / "a.gguf", **given)  # type: ignore[arg-type]
    with pytest.raises(LoadFailed, match=words):
        load_engine(LoadPlan(engine="openvino", path=str(path), threads=1), lambda _: None)


def test_a_type_of_weights_that_it_does_not_know_is_refused_by_name(tmp_path: Path) -> None:
    tensors = {"blk.0.ffn_up.weight": np.ones((64, 256), np.float32)}
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    for name, weights in tensors.items():
        writer.add_tensor(name, gguf.quants.quantize(weights, Quant.TQ1_0), raw_dtype=Quant.TQ1_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(LoadFailed, match=r"ffn_up.weight is in TQ1_0; for OpenVINO a GGUF may be in F32.*Q6_K"):
        load_engine(LoadPlan(engine="openvino", path=str(path), threads=1), lambda _: None)


def test_a_split_model_is_refused(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny.gguf", tensors_each=5)
    parts = tuple(str(path) for path in sorted(tmp_path.glob("tiny-*.gguf")))
    assert len(parts) > 1
    with pytest.raises(LoadFailed, match=r"split into .* files.*--engine llama_cpp"):
        load_engine(LoadPlan(engine="openvino", path=parts[0], parts=parts), lambda _: None)
    with pytest.raises(LoadFailed, match=r"split into .* files.*--engine llama_cpp"):
        load_engine(LoadPlan(engine="openvino", path=parts[0]), lambda _: None)


def broken_files(whole: bytes) -> dict[str, bytes]:
    """Files by what was done to them."""
    broken = {
        "empty": b"",
        "noise": hashlib.shake_256(b"noise").digest(50_000),
        "noise behind a head": whole[:24] + hashlib.shake_256(b"noise").digest(50_000),
    }
    broken |= {f"cut at {at}": whole[:at] for at in (10, 500, 5000, len(whole) // 2, len(whole) - 1)}
    random = np.random.default_rng(0)
    for place in random.integers(0, 20_000, 25):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(0, 8))
        broken[f"bit of byte {place}"] = bytes(damaged)
    return broken


@pytest.mark.slow
def test_broken_files_end_no_process(tiny_model: Path, tmp_path: Path) -> None:
    plans: dict[str, LoadPlan] = {}
    for name, data in broken_files(tiny_model.read_bytes()).items():
        path = tmp_path / f"{len(plans)}.gguf"
        path.write_bytes(data)
        plans[name] = LoadPlan(engine="openvino", path=str(path), threads=1, max_jobs=1, context_tokens=256)
    plans["whole"] = LoadPlan(engine="openvino", path=str(tiny_model), threads=1, max_jobs=1, context_tokens=256)
    found = outcomes(plans)
    assert [name for name in plans if name not in found] == []
    assert found["whole"].error == "EngineUnavailable"  # it loads, and gives no logits
    assert {outcome.error for outcome in found.values()} == {"LoadFailed", "EngineUnavailable"}
    assert all("\n" not in outcome.message for outcome in found.values())
    assert all(found[name].error == "LoadFailed" for name in found if name.startswith(("cut", "noise", "empty")))


def folder_of(tiny: Path, folder: Path) -> Path:
    """The tiny model as an exporter would leave it."""
    folder.mkdir()
    model = read_model(tiny)
    tensors = TensorReader(model)
    ov.serialize(build_graph(model.shape, tensors), str(folder / "openvino_model.xml"))
    tensors.close()
    openvino_genai.Tokenizer(str(tiny), enable_save_ov_model=True)
    for name in ("openvino_tokenizer", "openvino_detokenizer"):
        for end in ("xml", "bin"):
            shutil.move(tiny.parent / f"{name}.{end}", folder / f"{name}.{end}")
    config = {
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 64,
        "vocab_size": 260,
        "max_position_embeddings": 1024,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages[0].content }}"}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("folder")
    return folder_of(write_model(home / "tiny.gguf", "llama"), home / "model")


def test_a_folder_answers_as_the_file_does(folder: Path) -> None:
    texts: list[str] = []
    file = folder.parent / "tiny.gguf"
    for path in (folder, folder / "openvino_model.xml", file):
        loaded = load_engine(LoadPlan(engine="openvino", path=str(path), threads=1, max_jobs=2), lambda _: None)
        assert is_pipeline(loaded)
        engine = PipelinedEngine(loaded)
        prompt = engine.tokenizer.encode("The river", add_special=False, parse_special=True)
        assert prompt == GgufTokenizer(str(file)).encode("The river", add_special=False, parse_special=True)
        texts.append(ask(engine, "The river", max_tokens=8, ignore_eos=True).text)
        assert engine.tokenizer.piece(1) == b""
        assert 2 in engine.tokenizer.end_tokens
        engine.close()
    assert texts[0] == texts[1] == texts[2] != ""


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config.json", None, "has no config.json.*optimum"),
        ("config.json", "{", "config.json is not as it should be"),
        ("config.json", '{"num_hidden_layers": "two"}', "config.json is not as it should be"),
        ("openvino_tokenizer.xml", None, "has no openvino_tokenizer.xml"),
        ("openvino_model.bin", None, "has no openvino_model.bin"),
        ("openvino_model.xml", "<net", "OpenVINO cannot load"),
        ("openvino_model.bin", "short", "OpenVINO cannot load"),
        ("openvino_detokenizer.xml", "<net/>", "OpenVINO cannot load"),
    ],
)
def test_a_broken_folder_is_refused(folder: Path, tmp_path: Path, name: str, text: str | None, words: str) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / name).unlink()
    if text is not None:
        (broken / name).write_text(text)
    with pytest.raises(LoadFailed, match=words):
        load_engine(LoadPlan(engine="openvino", path=str(broken), threads=1, max_jobs=1), lambda _: None)


def test_control_tokens_have_no_text_for_grammars(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = GgufTokenizer(str(tiny_model))
    native = grammar_tokenizer(tokenizer, tmp_path)
    vocabulary: dict[bytes, int] = native.get_vocab()
    assert vocabulary[b"a"] == tokenizer.encode("a", add_special=False, parse_special=False)[0]
    assert not any(piece.startswith(b"<|") for piece in vocabulary)
    assert len(vocabulary) == 257  # the bytes, and nothing


TEXTS = (
    "",
    " ",
    "  two  spaces ",
    "zwölf Boxkämpfer 日本語 🎉👩‍👩‍👧",
    "<|im_start|>user\n<|im_end|>",
    "a\n\n\nb\t\tc\r\n",
    "12345 3.14 1e9",
    "don't I'LL we're",
    "e\u0301 \u200b \ufeff",
    "def f(x):\n    return x**2  # hi",
    "\ud800 half",
)


@pytest.mark.parametrize("parse_special", [False, True])
def test_the_tokenizer_is_llama_cpps_to_the_last_id(tiny_model: Path, parse_special: bool) -> None:
    runner = load_runner(LoadPlan(engine="llama_cpp", path=str(tiny_model), threads=1, max_jobs=1), lambda _: None)
    found, expected = GgufTokenizer(str(tiny_model)), runner.tokenizer
    for text in TEXTS:
        for add_special in (False, True):
            ids = found.encode(text, add_special=add_special, parse_special=parse_special)
            assert ids == expected.encode(text, add_special=add_special, parse_special=parse_special), text
    assert [found.piece(token) for token in range(259)] == [expected.piece(token) for token in range(259)]
    assert (found.bos, found.eos, found.end_tokens) == (expected.bos, expected.eos, expected.end_tokens)
    assert found.chat_template == expected.chat_template
    runner.close()


def test_a_piece_is_shorter_for_a_larger_model() -> None:
    pieces = [piece_tokens(count * 10**6, threads=4, jobs=4) for count in (100, 500, 1500, 8000)]
    assert pieces == sorted(pieces, reverse=True)
    assert pieces[0] > pieces[-1] >= 32
    assert piece_tokens(10**12, threads=1, jobs=100) == 100
    assert Target(device="CPU", threads=1).device == "CPU"
