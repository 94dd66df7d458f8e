"""What enters the weights of a model, compared with the same model in numpy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from localllm.engines.llama_cpp import activations, native, square_sums
from localllm.engines.llama_cpp.activations import ActivationCollector, piece_tokens, weight_name
from localllm.engines.llama_cpp.square_sums import SquareSums, expert_sums, product_sums
from localllm.errors import EngineError, InvalidRequest, LoadFailed, ModelNotFound
from tests.engines import numpy_llama
from tests.engines.numpy_llama import WIDTH, Inputs, Weights, write_model
from tests.tiny import write_tiny_embedder, write_tiny_model

EXPERTS, USED = 6, 2
CHUNKS = [np.random.default_rng(seed).integers(3, 259, 100).tolist() for seed in (1, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def dense(folder: Path) -> tuple[Path, Weights]:
    path = folder / "dense.gguf"
    return path, write_model(path)


@pytest.fixture(scope="module")
def mixture(folder: Path) -> tuple[Path, Weights]:
    path = folder / "mixture.gguf"
    return path, write_model(path, experts=EXPERTS, used=USED)


def collected(path: Path, chunks: Sequence[Sequence[int]] = CHUNKS, threads: int = 1) -> dict[str, SquareSums]:
    with ActivationCollector(str(path), chunk_tokens=max(map(len, chunks)), threads=threads) as collector:
        for chunk in chunks:
            collector.read(chunk)
        return collector.sums


@pytest.fixture
def exact_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values are usually kept as float16."""
    new_context = native.new_context
    f32 = {"type_k": 0, "type_v": 0, "flash_attn_type": 0}
    monkeypatch.setattr(native, "new_context", lambda model, **fields: new_context(model, **fields, **f32))


def in_numpy(weights: Weights, used: int = 0) -> Inputs:
    inputs = Inputs()
    for chunk in CHUNKS:
        numpy_llama.read(weights, chunk, used=used, inputs=inputs)
    return inputs


def require_same(found: dict[str, SquareSums], expected: dict[str, SquareSums], tolerance: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    for name, sums in expected.items():
        np.testing.assert_allclose(found[name].squares, sums.squares, rtol=tolerance, err_msg=name)
        np.testing.assert_array_equal(found[name].counts, sums.counts, err_msg=name)


@pytest.mark.usefixtures("exact_attention")
def test_sums_are_those_of_the_model_in_numpy(dense: tuple[Path, Weights]) -> None:
    path, weights = dense
    found, expected = collected(path), in_numpy(weights)
    assert sorted(found) == sorted(name for name in weights if name.startswith("blk.") and "norm" not in name)
    for name, sums in found.items():
        assert sums.counts.tolist() == expected.counts[name] == [200]
        np.testing.assert_allclose(sums.squares, expected.squares[name], rtol=1e-4, err_msg=name)


@pytest.mark.usefixtures("exact_attention")
def test_each_expert_has_the_sums_of_the_rows_that_chose_it(mixture: tuple[Path, Weights]) -> None:
    path, weights = mixture
    found, expected = collected(path), in_numpy(weights, USED)
    assert found.keys() == expected.squares.keys()
    assert found["blk.1.ffn_gate_inp.weight"].counts.tolist() == [200]
    for name, sums in found.items():
        assert sums.counts.tolist() == expected.counts[name]
        np.testing.assert_allclose(sums.squares, expected.squares[name], rtol=1e-4, err_msg=name)
    experts = found["blk.0.ffn_down_exps.weight"]
    assert experts.squares.shape == (EXPERTS, numpy_llama.FEED_FORWARD)
    assert experts.counts.sum() == 200 * USED
    assert (experts.counts > 0).all()


@pytest.mark.usefixtures("exact_attention")
@pytest.mark.parametrize("rows", [34, 3])
@pytest.mark.parametrize("model", ["dense", "mixture"])
def test_chunks_read_in_pieces_have_the_same_sums(
    model: str, rows: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last piece of 3 rows is one row: it counts, too."""
    path: Path = request.getfixturevalue(model)[0]
    whole = collected(path)
    monkeypatch.setattr(activations, "MOST_OUTPUT_BYTES", rows * 259 * 4)
    assert piece_tokens(100, 259) == rows
    require_same(collected(path), whole, tolerance=1e-4)


def test_leaving_out_the_output_changes_nothing(mixture: tuple[Path, Weights], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "MOST_OUTPUT_BYTES", 34 * 259 * 4)
    short = collected(mixture[0])
    monkeypatch.setattr(ActivationCollector, "_keeps_state", lambda _self: True)
    require_same(collected(mixture[0]), short)


def test_threads_change_nothing(dense: tuple[Path, Weights]) -> None:
    require_same(collected(dense[0], CHUNKS[:1], threads=2), collected(dense[0], CHUNKS[:1]))


def test_a_chunk_starts_anew(dense: tuple[Path, Weights]) -> None:
    once, twice = collected(dense[0], CHUNKS[:1]), collected(dense[0], [CHUNKS[0], CHUNKS[0]])
    require_same(twice, {name: sums.plus(sums) for name, sums in once.items()}, tolerance=1e-12)


def test_a_split_model_is_read_whole(tmp_path: Path) -> None:
    whole = collected(write_tiny_model(tmp_path / "whole.gguf"))
    write_tiny_model(tmp_path / "split.gguf", tensors_each=9)
    parts = sorted(tmp_path.glob("split-*.gguf"))
    assert len(parts) > 1
    require_same(collected(parts[-1]), whole)


def test_what_reads_the_same_is_read_once(dense: tuple[Path, Weights], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counting(*arguments: object) -> SquareSums:
        calls.append(arguments)
        return product_sums(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(activations, "product_sums", counting)
    collected(dense[0], CHUNKS[:1])
    assert len(calls) == numpy_llama.LAYERS * 4  # q k v, attention's output, gate and up, down


def test_the_first_token_is_the_one_that_the_model_wants(tmp_path: Path, dense: tuple[Path, Weights]) -> None:
    write_model(tmp_path / "bos.gguf", wants_bos=True)
    for path, token in ((tmp_path / "bos.gguf", 0), (dense[0], None)):
        with ActivationCollector(str(path), chunk_tokens=32, threads=1) as collector:
            assert collector.first_token == token


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e25])
def test_what_is_not_finite_is_refused(value: float, tmp_path: Path) -> None:
    """The square of 1e25 is no float32."""
    broken = np.zeros((128, WIDTH), np.float32)
    broken[0, 0] = value
    path = write_tiny_model(tmp_path / "broken.gguf", added={"blk.0.ffn_up.weight": broken})
    with (
        ActivationCollector(str(path), chunk_tokens=100, threads=1) as collector,
        pytest.raises(EngineError, match=r"what enters blk\.0\.ffn_down\.weight is not finite"),
    ):
        collector.read(CHUNKS[0])


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
def test_what_goes_wrong_in_the_callback_is_raised_after_the_decode(
    failure: type[BaseException], dense: tuple[Path, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> SquareSums:
        raise failure

    with ActivationCollector(str(dense[0]), chunk_tokens=100, threads=1) as collector:
        with monkeypatch.context() as patch:
            patch.setattr(activations, "product_sums", fail)
            with pytest.raises(failure):
                collector.read(CHUNKS[0])
        collector.read(CHUNKS[0])
        require_same(collector.sums, collected(dense[0], CHUNKS[:1]))


def test_models_that_cannot_be_calibrated_are_refused(tmp_path: Path, dense: tuple[Path, Weights]) -> None:
    embedder = write_tiny_embedder(tmp_path / "bert.gguf", pooling="cls")
    with pytest.raises(InvalidRequest, match="--calibrate none"):
        ActivationCollector(str(embedder), chunk_tokens=32, threads=1)
    with pytest.raises(InvalidRequest, match="128 tokens at most, not chunks of 129"):
        ActivationCollector(str(dense[0]), chunk_tokens=129, threads=1)
    (tmp_path / "short.gguf").write_bytes(dense[0].read_bytes()[:5000])
    with pytest.raises(LoadFailed, match="damaged"):
        ActivationCollector(str(tmp_path / "short.gguf"), chunk_tokens=32, threads=1)
    with pytest.raises(ModelNotFound):
        ActivationCollector(str(tmp_path / "missing.gguf"), chunk_tokens=32, threads=1)


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        (b"blk.0.attn_k.weight", "blk.0.attn_k.weight"),
        (b"CUDA0#blk.0.attn_k.weight#0", "blk.0.attn_k.weight"),
        (b"CPU#blk.0.attn_k.weight", "blk.0.attn_k.weight"),
        (b"\xff", "\ufffd"),
    ],
)
def test_names_are_those_of_the_file(name: bytes, cleaned: str) -> None:
    assert weight_name(name) == cleaned


@pytest.mark.parametrize("vocabulary", [259, 32_000, 151_936, 262_144])
def test_logits_stay_small(vocabulary: int) -> None:
    piece = piece_tokens(512, vocabulary)
    assert piece * vocabulary * 4 <= activations.MOST_OUTPUT_BYTES
    assert (piece == 512) == (512 * vocabulary * 4 <= activations.MOST_OUTPUT_BYTES)


def test_several_matrices_are_told_apart_as_upstream_does() -> None:
    inputs = np.random.default_rng(0).normal(size=(4, 6, 5, 7)).astype(np.float32)
    outer, inner = 2, 3
    expected = np.zeros((outer * inner, 7))
    for i3 in range(4):
        for i2 in range(6):
            expected[(i3 % outer) * inner + i2 % inner] += (inputs[i3, i2].astype(np.float64) ** 2).sum(0)
    sums = product_sums(inputs, (outer, inner))
    np.testing.assert_allclose(sums.squares, expected.reshape(1, -1))
    assert sums.counts.tolist() == [4 * 6 * 5 // 6]


@pytest.mark.parametrize("rows", [1, 3])
def test_experts_read_the_row_that_is_theirs_as_upstream_does(rows: int) -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(1, 9, rows, 7)).astype(np.float32)
    choices = np.stack([random.permutation(5)[:3] for _ in range(9)]).astype(np.int32).reshape(1, 1, 9, 3)
    expected, counts = np.zeros((5, 7)), [0] * 5
    for token in range(9):
        for choice in range(3):
            expert = choices[0, 0, token, choice]
            expected[expert] += inputs[0, token, choice % rows].astype(np.float64) ** 2
            counts[expert] += 1
    sums = expert_sums(inputs, choices, 5)
    np.testing.assert_allclose(sums.squares, expected)
    assert sums.counts.tolist() == counts


@pytest.mark.parametrize("choice", [-1, 5])
def test_experts_that_are_not_there_are_refused(choice: int) -> None:
    choices = np.full((1, 1, 1, 1), choice, np.int32)
    with pytest.raises(EngineError, match="not among the 5"):
        square_sums.expert_sums(np.ones((1, 1, 1, 2), np.float32), choices, 5)
