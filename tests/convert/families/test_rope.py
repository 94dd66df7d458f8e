"""Ropes: both dialects of config.json, every kind, and what becomes of it."""

import math
from typing import Any

import numpy as np
import pytest

from localllm.convert.config import Config
from localllm.convert.families.base import Layout
from localllm.convert.families.registry import family_of
from localllm.errors import LoadFailed
from tests.convert.families.configs import LLAMA3_ROPE, config_of

Values = dict[str, Any]

YARN: Values = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}
LINEAR: Values = {"rope_type": "linear", "factor": 2.0}
LONG: Values = {"rope_type": "longrope", "long_factor": [2.0] * 32, "short_factor": [1.0] * 32}
LONG |= {"original_max_position_embeddings": 8192}


def layout_of(model: str, **changes: object) -> Layout:
    config = Config(config_of(model, **changes))
    return family_of(config.model_class).layout(config)


def rope_of(model: str, **changes: object) -> Values:
    layout = layout_of(model, **changes)
    values = {key.partition(".rope.")[2]: value for key, value in layout.metadata.items() if ".rope." in key}
    return {**values, **{made.target: made.values.tolist() for made in layout.made}}


def refused(model: str, **changes: object) -> str:
    with pytest.raises(LoadFailed) as caught:
        layout_of(model, **changes)
    return caught.value.message


@pytest.mark.parametrize("rope", [{"rope_type": "default"}, LINEAR, LLAMA3_ROPE, YARN, LONG])
def test_both_dialects_say_the_same(rope: Values) -> None:
    old = {"rope_theta": 300000.0, "rope_scaling": rope}
    older = {"rope_theta": 300000.0, "rope_scaling": {**rope, "rope_type": None, "type": rope["rope_type"]}}
    new = {"rope_theta": None, "rope_scaling": None, "rope_parameters": {**rope, "rope_theta": 300000.0}}
    said = [rope_of("Llama-3.2-1B", **dialect) for dialect in (old, older, new)]
    assert said[0] == said[1] == said[2]
    assert said[0]["freq_base"] == 300000.0
    assert said[0]["dimension_count"] == 64


def test_layers_with_windows_have_a_rope_of_their_own() -> None:
    old = {"rope_theta": 2e6, "rope_local_base_freq": 3e4, "rope_scaling": LINEAR}
    parts = {
        "full_attention": {**LINEAR, "rope_theta": 2e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 3e4},
    }
    new = {"rope_theta": None, "rope_local_base_freq": None, "rope_scaling": None, "rope_parameters": parts}
    assert rope_of("gemma-3-1b", **old) == rope_of("gemma-3-1b", **new)
    assert rope_of("gemma-3-1b", **new) == {
        "dimension_count": 256,
        "freq_base": 2e6,
        "freq_base_swa": 3e4,
        "scaling.type": "linear",
        "scaling.factor": 2.0,
    }


@pytest.mark.parametrize(("model", "theta"), [("SmolLM2-135M", 1e4), ("SmolLM3-3B", 2e6), ("gemma-3-1b", 1e6)])
def test_where_nothing_is_said_the_default_of_the_class_holds(model: str, theta: float) -> None:
    assert rope_of(model, rope_theta=None, rope_scaling=None)["freq_base"] == theta


def test_llama3_keeps_fast_frequencies_and_divides_slow_ones() -> None:
    factors = np.array(rope_of("Llama-3.2-1B")["rope_freqs.weight"], np.float32)
    assert factors.shape == (32,)
    assert factors[0] == 1
    assert factors[-1] == 32
    assert (np.diff(factors) >= 0).all()
    assert ((factors > 1) & (factors < 32)).sum() == 3  # a turn takes 2048 to 8192 tokens


def test_yarn_has_a_magnitude_of_its_own_only_where_it_is_unusual() -> None:
    plain = rope_of("Qwen2.5-0.5B", rope_scaling=YARN)
    assert plain["scaling.type"] == "yarn"
    assert plain["scaling.factor"] == 4.0
    assert plain["scaling.original_context_length"] == 8192
    assert "scaling.attn_factor" not in plain
    usual = 0.1 * math.log(4.0) + 1
    assert "scaling.attn_factor" not in rope_of("Qwen2.5-0.5B", rope_scaling={**YARN, "attention_factor": usual})
    changed = rope_of("Qwen2.5-0.5B", rope_scaling={**YARN, "attention_factor": 1.0})
    assert changed["scaling.attn_factor"] == pytest.approx(1 / usual)


def test_yarn_without_a_factor_or_an_original_length_takes_the_ratio() -> None:
    rope = {"rope_type": "yarn", "original_max_position_embeddings": 4096}
    assert rope_of("Qwen2.5-0.5B", rope_scaling=rope)["scaling.factor"] == 8.0
    assert rope_of("Qwen2.5-0.5B", rope_scaling={"rope_type": "yarn", "factor": 4.0})[
        "scaling.original_context_length"
    ] == 32768  # fmt: skip


def test_longrope_never_names_a_factor() -> None:
    """llama.cpp would divide all angles by it."""
    rope = rope_of("Phi-3.5-mini")
    assert "scaling.factor" not in rope
    assert rope["scaling.original_context_length"] == 4096
    assert rope["scaling.attn_factor"] == pytest.approx(math.sqrt(1 + math.log(32) / math.log(4096)))
    assert len(rope["rope_factors_long.weight"]) == len(rope["rope_factors_short.weight"]) == 48


@pytest.mark.parametrize("name", ["su", "yarn", "longrope"])
def test_phi_has_called_longrope_by_other_names(name: str) -> None:
    scaling = config_of("Phi-3.5-mini")["rope_scaling"] | {"type": name}
    assert rope_of("Phi-3.5-mini", rope_scaling=scaling) == rope_of("Phi-3.5-mini")


def test_a_part_of_each_head_is_rotated() -> None:
    assert rope_of("Phi-4-mini")["dimension_count"] == 96


def test_dynamic_scaling_begins_where_the_context_ends() -> None:
    dynamic = {"rope_type": "dynamic", "factor": 4.0}
    assert rope_of("SmolLM2-135M", rope_scaling=dynamic) == rope_of("SmolLM2-135M")
    assert "alpha" in refused("SmolLM2-135M", rope_scaling={**dynamic, "alpha": 1000.0})


@pytest.mark.parametrize(
    ("model", "rope", "words"),
    [
        ("SmolLM2-135M", {"rope_type": "proportional"}, "proportional"),
        ("SmolLM2-135M", {"rope_type": "su"}, "su"),
        ("Qwen2.5-0.5B", {"type": "mrope", "mrope_section": [16, 24, 24]}, "mrope"),
        ("Qwen2.5-0.5B", {"type": "default", "mrope_section": [16, 24, 24]}, "mrope_section"),
        ("Qwen2.5-0.5B", LLAMA3_ROPE, "llama3"),
        ("Qwen3-0.6B", LONG, "longrope"),
        ("SmolLM3-3B", LLAMA3_ROPE, "llama3"),
        ("gemma-2-2b", YARN, "yarn"),
        ("gemma-3-1b", YARN, "yarn"),
        ("Phi-3.5-mini", LINEAR, "linear"),
        ("SmolLM2-135M", {"rope_type": "linear"}, "factor"),
        ("SmolLM2-135M", {"rope_type": "linear", "factor": 0}, "factor"),
        ("SmolLM2-135M", {**YARN, "beta_fast": 16}, "beta_fast"),
        ("SmolLM2-135M", {**YARN, "beta_slow": 2}, "beta_slow"),
        ("SmolLM2-135M", {**YARN, "truncate": False}, "truncate"),
        ("SmolLM2-135M", {**LLAMA3_ROPE, "low_freq_factor": 4.0}, "high_freq_factor"),
        ("SmolLM2-135M", {**LONG, "long_factor": [1.0] * 31}, "long_factor"),
        ("SmolLM2-135M", {**LONG, "short_factor": [0.0] * 32}, "short_factor"),
        ("SmolLM2-135M", {**LONG, "original_max_position_embeddings": 1}, "original_max_position_embeddings"),
    ],
)
def test_what_cannot_be_is_refused_by_name(model: str, rope: Values, words: str) -> None:
    assert words in refused(model, rope_scaling=rope)


def test_ropes_by_layer_type_are_refused_where_the_graph_has_one() -> None:
    parts = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    assert "type of layer" in refused("Qwen3-0.6B", rope_parameters=parts)
    assert "type of layer" in refused("gemma-3-1b", rope_parameters=LINEAR, rope_scaling=None)
    scaled = {"full_attention": {}, "sliding_attention": LINEAR}
    assert "sliding" in refused("gemma-3-1b", rope_parameters=scaled, rope_scaling=None)


def test_what_was_usual_may_be_said_aloud() -> None:
    aloud = {**YARN, "beta_fast": 32.0, "beta_slow": 1, "truncate": True, "attention_factor": None}
    assert rope_of("SmolLM2-135M", rope_scaling=aloud) == rope_of("SmolLM2-135M", rope_scaling=YARN)
