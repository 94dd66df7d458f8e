"""The types that may be asked for: the table says what llama.cpp makes of a model whose rows fit."""

from collections import Counter
from pathlib import Path

import pytest

from localllm.engines.llama_cpp.quantizer.call import plan, write
from localllm.engines.llama_cpp.quantizer.order import EMBEDDINGS, OUTPUT, Order, Override
from localllm.errors import InvalidRequest, LoadFailed
from localllm.models.gguf.quant import FILE_TYPES
from localllm.models.gguf.tensor_types import TENSOR_TYPES
from localllm.models.quant import BITS_PER_WEIGHT, rank
from localllm.quantize.types import QUANT_TYPES, TENSOR_TYPE_NUMBERS, tensor_type_number, type_of
from tests.marks import mostly_slow
from tests.quantize.wide import importance_values, write_wide_model

LAYERS = 16  # of fewer, the first and the last ones get no more bits
UNTRAINED = {"TQ1_0", "TQ2_0", "Q2_0", "Q1_0"}  # last in the table, wherever their bits would put them


@pytest.fixture(scope="module")
def tall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of many layers, whose rows fit all types."""
    folder = tmp_path_factory.mktemp("tall")
    return write_wide_model(folder / "tall.gguf", layers=LAYERS)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one layer."""
    return write_wide_model(tmp_path_factory.mktemp("flat") / "flat.gguf", layers=1)


@pytest.mark.parametrize("name", mostly_slow(QUANT_TYPES, "Q4_K_M", "IQ4_NL", "IQ3_M", "MXFP4_MOE", "IQ1_S"))
def test_the_layers_are_of_the_types_in_the_table(name: str, tall: Path) -> None:
    kind = QUANT_TYPES[name]
    importance = importance_values() if kind.needs_calibration else {}
    planned = plan(Order(source=tall, file_type=kind.number, importance=importance))
    types = Counter(
        tensor.type for tensor in planned if tensor.name not in {*EMBEDDINGS, OUTPUT} and "norm" not in tensor.name
    )
    if name == "MXFP4_MOE":  # of a model that has no experts
        assert set(types) == {"Q8_0"}
        return
    assert types.most_common(1)[0][0] == kind.tensor_types[0]
    assert set(kind.tensor_types) <= set(types)
    (output,) = (tensor.type for tensor in planned if tensor.name == OUTPUT)
    assert output == kind.output_type


@pytest.mark.parametrize(
    "name", mostly_slow(sorted(set(QUANT_TYPES) - {"MXFP4_MOE"}), "Q4_K_M", "IQ2_M", "IQ3_XS", "Q2_K")
)
def test_the_table_says_which_need_calibration(name: str, flat: Path, tmp_path: Path) -> None:
    kind = QUANT_TYPES[name]
    order = Order(source=flat, file_type=kind.number)
    if kind.needs_calibration:
        with pytest.raises(LoadFailed, match="requires an im"):
            write(order, tmp_path / "out", lambda *_: None)
    else:
        assert not {tensor.type for tensor in plan(order)} & {"IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}


def test_the_table_has_all_that_can_be_made_the_best_first() -> None:
    assert set(QUANT_TYPES) == set(FILE_TYPES.values()) - {"NVFP4"}
    assert [kind.name for kind in QUANT_TYPES.values()] == list(QUANT_TYPES)
    assert set(list(QUANT_TYPES)[-len(UNTRAINED) :]) == UNTRAINED
    trained = [name for name in QUANT_TYPES if name not in UNTRAINED]
    assert set(trained) <= set(BITS_PER_WEIGHT)
    assert trained == sorted(trained, key=rank)
    words = [kind.words for kind in QUANT_TYPES.values()]
    assert len(set(words)) == len(words)
    assert all(0 < len(text) <= 90 for text in words)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("q4_k_m", "Q4_K_M"),
        (" IQ4_NL ", "IQ4_NL"),
        ("Q4_K", "Q4_K_M"),
        ("q5_k", "Q5_K_M"),
        ("fp16", "F16"),
        ("mxfp4", "MXFP4_MOE"),
    ],
)
def test_names_are_taken_however_they_are_spelt(text: str, name: str) -> None:
    assert type_of(text).name == name
    assert FILE_TYPES[type_of(text).number] == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Q4KM", "there is no type Q4KM; perhaps Q4_K_M"),
        ("IQ4", "IQ4_NL"),
        ("Q4_2", "Q4_1"),
        ("", "there are F32, BF16, F16, Q8_0"),
        ("banana\n", "there is no type banana\\n; there are"),
        ("nvfp4", "llama.cpp runs NVFP4 and cannot make it"),
    ],
)
def test_other_names_are_refused_with_those_that_look_like_them(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        type_of(text)
    assert words in refused.value.message
    assert refused.value.param == "type"


def test_blocks_and_bits_are_those_of_most_tensors() -> None:
    assert (type_of("Q4_K_M").block_elements, type_of("Q4_K_M").bits) == (256, 4.5)
    assert (type_of("IQ4_NL").block_elements, type_of("IQ4_NL").bits) == (32, 4.5)
    assert (type_of("F16").block_elements, type_of("F16").bits) == (1, 16)
    assert [name for name in QUANT_TYPES if not QUANT_TYPES[name].is_quantized] == ["F32", "BF16", "F16"]


@pytest.mark.parametrize("name", mostly_slow(TENSOR_TYPE_NUMBERS, "Q6_K", "F16"))
def test_a_tensor_can_have_each_of_these_types(name: str, flat: Path) -> None:
    number = tensor_type_number(name.lower(), "overrides")
    assert TENSOR_TYPES[number].name == name
    overrides = (Override("ffn_up", number),)
    planned = plan(Order(source=flat, file_type=type_of("Q8_0").number, overrides=overrides, embedding_type=number))
    types = {tensor.name: tensor.type for tensor in planned}
    assert types["blk.0.ffn_up.weight"] == types["token_embd.weight"] == name


@pytest.mark.parametrize("text", ["Q4_K_M", "I32", "Q8_1", "q8_k", "F64", "Q4_2", ""])
def test_no_tensor_can_have_another(text: str) -> None:
    with pytest.raises(InvalidRequest, match="there is no type") as refused:
        tensor_type_number(text, "output_type")
    assert refused.value.param == "output_type"
