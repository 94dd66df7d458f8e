"""What headers say of a model: of real files, of made ones, of split ones; and what they may not say."""

from pathlib import Path

import pytest

from localllm.errors import LoadFailed
from localllm.models.gguf.facts import ModelFacts, facts_of
from localllm.models.gguf.header import GgufHeader, parse_header, read_header
from localllm.models.gguf.template import Features
from tests.models.gguf.headers import (
    ARCHITECTURE,
    BOOL,
    F32,
    I32,
    U16,
    U32,
    WEIGHT,
    count,
    gguf,
    model,
    numbers,
    pair,
    strings,
    tensor,
    words,
)
from tests.tiny import (
    CONTEXT,
    FEED_FORWARD,
    HEADS,
    KV_HEADS,
    LAYERS,
    TEMPLATE,
    WIDTH,
    write_tiny_embedder,
    write_tiny_model,
)


def header(data: bytes) -> GgufHeader:
    return parse_header(data, len(data))


def facts(*pairs: bytes, architecture: str = "llama", tensors: tuple[bytes, ...] = (WEIGHT,)) -> ModelFacts:
    return facts_of([header(model(*pairs, architecture=architecture, tensors=tensors))])


def test_the_tiny_model_is_described(tiny_model: Path) -> None:
    found = facts_of([read_header(tiny_model)])
    assert (found.architecture, found.name) == ("llama", "tiny")
    assert (found.context_tokens, found.layers, found.embedding_width) == (CONTEXT, LAYERS, WIDTH)
    assert found.feed_forward_width == FEED_FORWARD
    assert (found.attention.heads, found.attention.kv_heads) == (HEADS, (KV_HEADS,) * LAYERS)
    assert (found.attention.key_length, found.attention.value_length) == (WIDTH // HEADS, WIDTH // HEADS)
    assert (found.vocabulary, found.quant, found.bits_per_weight) == (259, "F32", 32.0)
    assert (found.chat_template, found.features) == (TEMPLATE, Features())
    assert (found.pooling, found.has_vision, found.split_count) == ("", False, 1)
    assert (found.experts, found.experts_used) == (0, 0)
    assert found.attention.windowed_layers == (False,) * LAYERS
    assert found.weights_bytes == found.parameters * 4


@pytest.mark.real_model
def test_the_starter_model_is_described(starter_home: Path) -> None:
    (blob,) = (starter_home / "models" / "blobs").glob("sha256-b179c952*")
    found = facts_of([read_header(blob)])
    assert (found.architecture, found.license, found.finetune) == ("llama", "apache-2.0", "8k-lc100k-mix1-ep2")
    assert (found.parameters, found.layers, found.context_tokens) == (134_515_008, 30, 8192)
    assert (found.vocabulary, found.quant) == (49_152, "Q4_1")
    assert (found.attention.heads, set(found.attention.kv_heads), found.attention.key_length) == (9, {3}, 64)
    assert 5.74 < found.bits_per_weight < 5.75  # its Q4_1 is five bits, the embeddings are Q8_0


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_an_embedder_says_how_it_pools(tmp_path: Path, pooling: str) -> None:
    path = write_tiny_embedder(tmp_path / "embedder.gguf", pooling=pooling)  # type: ignore[arg-type]
    assert facts_of([read_header(path)]).pooling == pooling


def test_a_model_without_a_template_has_none(tmp_path: Path) -> None:
    found = facts_of([read_header(write_tiny_model(tmp_path / "bare.gguf", template=None))])
    assert (found.chat_template, found.features) == ("", Features())


def test_what_is_not_said_is_nothing() -> None:
    found = facts()
    assert (found.name, found.license, found.base_model, found.finetune) == ("", "", "", "")
    assert (found.context_tokens, found.layers, found.vocabulary, found.attention.heads) == (0, 0, 0, 0)
    assert found.attention.kv_heads == ()


def test_words_are_taken_over() -> None:
    found = facts(
        words("general.license", "mit"),
        words("general.base_model.0.name", "Base"),
        words("general.finetune", "instruct"),
        words("tokenizer.chat_template", "{% if tools %}{% endif %}<think>"),
        words("general.type", "mmproj"),
    )
    assert (found.license, found.base_model, found.finetune) == ("mit", "Base", "instruct")
    assert found.features == Features(tools=True, reasoning=True)
    assert found.has_vision


def test_an_image_encoder_is_known_by_its_architecture() -> None:
    assert facts(architecture="clip").has_vision


SHAPE = (
    count("llama.block_count", 4),
    count("llama.embedding_length", 64),
    count("llama.attention.head_count", 8),
)


def test_keys_and_values_have_the_usual_length_unless_stated() -> None:
    usual = facts(*SHAPE).attention
    assert (usual.key_length, usual.value_length, usual.kv_heads) == (8, 8, (8, 8, 8, 8))
    key, value = count("llama.attention.key_length", 32), count("llama.attention.value_length", 16)
    stated = facts(*SHAPE, key, value).attention
    assert (stated.key_length, stated.value_length) == (32, 16)


def test_heads_of_each_layer_are_told_apart() -> None:
    layers = count("llama.block_count", 3)
    heads = numbers("llama.attention.head_count", I32, [0, 8, 4])
    wide = numbers("llama.feed_forward_length", I32, [10, 30, 20])
    of_kv = numbers("llama.attention.head_count_kv", I32, [0, 2, 1])
    lengths = [count("llama.attention.key_length", 32), count("llama.attention.value_length", 16)]
    found = facts(layers, heads, of_kv, wide, *lengths)
    assert (found.attention.heads, found.attention.kv_heads) == (8, (0, 2, 1))
    assert found.attention.kv_values == 3 * (32 + 16)
    assert found.feed_forward_width == 30


def test_experts_are_counted() -> None:
    found = facts(count("llama.expert_count", 64), count("llama.expert_used_count", 6))
    assert (found.experts, found.experts_used) == (64, 6)


@pytest.mark.parametrize(
    ("architecture", "layers", "pairs", "full"),
    [
        pytest.param("llama", 4, {"sliding_window": 100}, [0, 1, 2, 3], id="llama.cpp gives llama none"),
        pytest.param("newcomer", 4, {"sliding_window": 100}, [0, 1, 2, 3], id="not known: all full"),
        pytest.param("phi3", 4, {"sliding_window": 100}, [0, 1, 2, 3], id="phi3: switched off"),
        pytest.param("gemma2", 6, {}, [1, 3, 5], id="gemma2 has one unsaid"),
        pytest.param("gemma3", 8, {"sliding_window": 512}, [5], id="gemma3"),
        pytest.param("gemma3", 8, {}, range(8), id="gemma3 without"),
        pytest.param("gemma3", 6, {"sliding_window": 512, "sliding_window_pattern": 3}, [2, 5], id="another period"),
        pytest.param("gemma3", 3, {"sliding_window": 512, "sliding_window_pattern": 0}, [], id="period 0: all"),
        pytest.param("gemma3", 3, {"sliding_window": 512, "sliding_window_pattern": 1}, [0, 1, 2], id="period 1: none"),
        pytest.param("gpt-oss", 4, {"sliding_window": 128}, [1, 3], id="gpt-oss"),
        pytest.param("exaone4", 8, {"sliding_window": 4096}, range(8), id="exaone4, small"),
        pytest.param("exaone4", 64, {"sliding_window": 4096}, range(3, 64, 4), id="exaone4, large"),
    ],
)
def test_layers_with_a_window_follow_the_architecture(
    architecture: str, layers: int, pairs: dict[str, int], full: list[int]
) -> None:
    said = [count(f"{architecture}.attention.{key}", value) for key, value in pairs.items()]
    found = facts(count(f"{architecture}.block_count", layers), *said, architecture=architecture)
    assert [layer for layer, windowed in enumerate(found.attention.windowed_layers) if not windowed] == list(full)


@pytest.mark.parametrize(("flags", "windowed"), [([1, 0, 1], (True, False, True)), ([1, 0], (False,) * 3)])
def test_a_file_may_name_the_layers_with_a_window(flags: list[int], windowed: tuple[bool, ...]) -> None:
    named = numbers("gemma4.attention.sliding_window_pattern", BOOL, flags)
    window, layers = count("gemma4.attention.sliding_window", 512), count("gemma4.block_count", 3)
    found = facts(layers, window, named, architecture="gemma4").attention
    assert (found.sliding_window, found.windowed_layers) == (512, windowed)


@pytest.mark.parametrize(
    ("file_type", "quant"),
    [(0, "F32"), (1, "F16"), (7, "Q8_0"), (15, "Q4_K_M"), (1024 + 15, "Q4_K_M"), (33, "Q8_0"), (9999, "Q8_0")],
)
def test_the_quant_is_what_the_file_calls_it_or_what_most_of_it_is(file_type: int, quant: str) -> None:
    tensors = (tensor("large", (32, 64), 8), tensor("small", (8,), 0, offset=64 * 34))
    data = gguf([ARCHITECTURE, count("general.file_type", file_type)], tensors, data_bytes=64 * 34 + 32)
    found = facts_of([header(data)])
    assert found.quant == quant
    assert found.bits_per_weight == (64 * 34 + 32) * 8 / (32 * 64 + 8)


def part(number: int, of: int, name: str, *pairs: bytes) -> GgufHeader:
    split = [pair("split.no", U16, number), pair("split.count", U16, of)]
    return header(gguf([*pairs, *split], [tensor(name)]))


FIRST = part(0, 3, "a", ARCHITECTURE, words("general.name", "split"))


def test_parts_of_a_split_model_are_one() -> None:
    found = facts_of([FIRST, part(1, 3, "b"), part(2, 3, "c")])
    assert (found.name, found.split_count, found.parameters, found.weights_bytes) == ("split", 3, 96, 384)


def test_the_first_part_alone_is_described_as_far_as_it_goes() -> None:
    found = facts_of([FIRST])
    assert (found.name, found.split_count, found.parameters) == ("split", 3, 32)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        pytest.param([], "at least one file", id="none"),
        pytest.param([part(1, 3, "b")], "name the first part", id="a later part"),
        pytest.param([FIRST, part(2, 3, "c"), part(1, 3, "b")], "part 2 of 3", id="another order"),
        pytest.param([FIRST, part(1, 3, "b")], "part 1 of 2", id="one missing"),
        pytest.param([FIRST, part(1, 4, "b"), part(2, 3, "c")], "part 2 of 3", id="of another model"),
        pytest.param([FIRST, part(1, 3, "b"), part(2, 3, "a")], "same tensor", id="a tensor twice"),
        pytest.param([header(model())] * 2, "part 1 of 2", id="not split at all"),
    ],
)
def test_parts_that_are_not_one_model_are_refused(parts: list[GgufHeader], why: str) -> None:
    with pytest.raises(LoadFailed, match=why):
        facts_of(parts)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (count("general.name", 1), "'general.name' is not a string"),
        (strings("general.license", ["mit"]), "'general.license' is not a string"),
        (count("tokenizer.chat_template", 1), "'tokenizer.chat_template' is not a string"),
        (words("llama.context_length", "8192"), "'llama.context_length' is not a whole number"),
        (pair("llama.context_length", F32, 8192.0), "'llama.context_length' is not a whole number"),
        (pair("llama.context_length", I32, -1), "'llama.context_length' is not a whole number"),
        (pair("llama.block_count", BOOL, 1), "'llama.block_count' is not a whole number"),
        (numbers("llama.block_count", U32, [4]), "'llama.block_count' is not a whole number"),
        (count("llama.block_count", 513), "llama.block_count is 513"),
        (count("llama.block_count", 2**32 - 1), "llama.block_count is 4294967295"),
        (words("llama.attention.head_count_kv", "2"), "head_count_kv' is not a whole number"),
        (numbers("llama.attention.head_count_kv", I32, [2]), "tells of 1 layers, there are 0"),
        (numbers("llama.attention.head_count_kv", I32, [2] * 5000), "head_count_kv' is not a whole number for each"),
        (numbers("llama.attention.head_count_kv", I32, [-2]), "head_count_kv' is not whole numbers"),
        (numbers("llama.attention.head_count", F32, [2.0]), "head_count' is not whole numbers"),
        (strings("llama.feed_forward_length", ["2"]), "feed_forward_length' is not a whole number for each"),
        (count("llama.pooling_type", 5), "llama.pooling_type is 5"),
        (words("general.file_type", "Q4_0"), "'general.file_type' is not a whole number"),
        (words("split.count", "2"), "'split.count' is not a whole number"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_key(wrong: bytes, why: str) -> None:
    with pytest.raises(LoadFailed) as refused:
        facts(wrong)
    assert why in refused.value.message
