"""Which classes have a family, and what every family is made of."""

import math
from collections import Counter

import gguf
import pytest

from localllm.convert.config import Config
from localllm.convert.families.base import Layout
from localllm.convert.families.registry import FAMILIES, family_of
from localllm.errors import LoadFailed
from tests.convert.families.configs import MODELS, config_of, weights_of

ARCHITECTURES = {name: architecture for architecture, name in gguf.MODEL_ARCH_NAMES.items()}


def layout_of(model: str, **changes: object) -> Layout:
    config = Config(config_of(model, **changes))
    return family_of(config.model_class).layout(config)


def architecture_of(model: str) -> str:
    return family_of(Config(config_of(model)).model_class).architecture


def known_keys(architecture: str) -> set[str]:
    groups = (gguf.Keys.LLM, gguf.Keys.Attention, gguf.Keys.Rope)
    values = [value for group in groups for value in vars(group).values() if isinstance(value, str)]
    return {value.replace("{arch}", architecture) for value in values}


def known_tensors(architecture: str, layers: int) -> set[str]:
    names = [gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[ARCHITECTURES[architecture]]]
    return {name.format(bid=layer) for name in names for layer in range(layers)}


@pytest.mark.parametrize("model", MODELS)
def test_every_weight_has_a_place(model: str) -> None:
    layout = layout_of(model)
    assert sum(math.prod(rule.shape) for rule in layout.tensors) == weights_of(model)
    assert max(Counter(rule.target for rule in layout.tensors).values()) == 1
    assert max(Counter(rule.source for rule in layout.tensors).values()) == 1


@pytest.mark.parametrize("model", MODELS)
def test_names_are_those_that_gguf_knows(model: str) -> None:
    architecture, layout = architecture_of(model), layout_of(model)
    layers = layout.metadata[f"{architecture}.block_count"]
    assert isinstance(layers, int)
    known = known_tensors(architecture, layers)
    targets = [rule.target for rule in layout.tensors] + [made.target for made in layout.made]
    assert {target.removesuffix(".weight").removesuffix(".bias") for target in targets} <= known
    assert set(layout.metadata) <= known_keys(architecture)


@pytest.mark.parametrize(
    ("model", "context"),
    [
        ("SmolLM2-135M", 8192),
        ("Mistral-7B-v0.1", 4096),  # its window: llama.cpp would see further
        ("Qwen2.5-0.5B", 32768),
        ("gemma-3-4b", 131072),
        ("Phi-3.5-mini", 131072),
    ],
)
def test_the_context_is_as_long_as_the_graph_is_right(model: str, context: int) -> None:
    assert layout_of(model).metadata[f"{architecture_of(model)}.context_length"] == context


def test_what_a_file_says_of_a_model() -> None:
    """As llama.cpp's own conversion script says it of the same model."""
    metadata = layout_of("gemma-3-4b").metadata
    assert metadata == {
        "gemma3.vocab_size": 262208,
        "gemma3.context_length": 131072,
        "gemma3.embedding_length": 2560,
        "gemma3.block_count": 34,
        "gemma3.feed_forward_length": 10240,
        "gemma3.attention.head_count": 8,
        "gemma3.attention.head_count_kv": 4,
        "gemma3.attention.key_length": 256,
        "gemma3.attention.value_length": 256,
        "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
        "gemma3.attention.sliding_window": 1024,
        "gemma3.rope.dimension_count": 256,
        "gemma3.rope.freq_base": 1_000_000.0,
        "gemma3.rope.freq_base_swa": 10_000.0,
        "gemma3.rope.scaling.type": "linear",
        "gemma3.rope.scaling.factor": 8.0,
    }


def test_kinds_of_numbers_are_those_of_gguf() -> None:
    """Whole numbers become uint32 and others float32, so 1 and 1.0 are not the same."""
    floats = ("epsilon", "freq_base", "factor", "scale", "softcapping", "freq_base_swa")
    for model in MODELS:
        for key, value in layout_of(model).metadata.items():
            expected = float if key.endswith(floats) else str if key.endswith("type") else int
            assert type(value) is expected, key


def test_a_head_that_repeats_the_embedding_is_left_out() -> None:
    assert "lm_head." in layout_of("SmolLM2-135M").dropped
    untied = layout_of("SmolLM2-135M", tie_word_embeddings=False)
    assert "lm_head." not in untied.dropped
    assert "output.weight" in {rule.target for rule in untied.tensors}
    assert "language_model.lm_head." in layout_of("gemma-3-4b").dropped


def test_encoders_of_images_are_left_out_and_names_made_alike() -> None:
    layout = layout_of("gemma-3-4b")
    assert "vision_tower.encoder.layers.0.weight".startswith(layout.dropped)
    assert "model.multi_modal_projector.weight".startswith(layout.dropped)
    names = ["language_model.model.norm.weight", "model.language_model.norm.weight", "model.norm.weight"]
    assert {layout.source(name) for name in names} == {"model.norm.weight"}


def test_classes_are_of_one_family_each() -> None:
    classes = [name for family in FAMILIES for name in family.classes]
    assert len(classes) == len(set(classes))
    assert [family_of(name) for name in classes] == [family for family in FAMILIES for _ in family.classes]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Qwen3MoeForCausalLM", "mixture of experts"),
        ("MixtralForCausalLM", "mixture of experts"),
        ("GraniteMoeHybridForCausalLM", "state spaces"),
        ("Qwen3NextForCausalLM", "linear attention"),
        ("Qwen2_5_VLForConditionalGeneration", "more than text"),
        ("Qwen3ForSequenceClassification", "makes no text"),
        ("SomethingNewForCausalLM", "is not converted"),
    ],
)
def test_other_classes_are_refused_by_name(name: str, words: str) -> None:
    with pytest.raises(LoadFailed) as caught:
        family_of(name)
    assert name in caught.value.message
    assert words in caught.value.message
    assert "LlamaForCausalLM" in caught.value.message


def test_a_name_without_end_does_not_fill_the_screen() -> None:
    with pytest.raises(LoadFailed) as caught:
        family_of("x" * 100_000)
    assert len(caught.value.message) < 500
