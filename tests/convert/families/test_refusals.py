"""What llama.cpp's graph of an architecture does not do is refused by name, and nonsense is never more than that."""

import math

import pytest

from localllm.convert.config import Config
from localllm.convert.families.registry import family_of
from localllm.errors import LoadFailed
from tests.convert.families.configs import MODELS, config_of


def refused(model: str, **changes: object) -> str:
    config = Config(config_of(model, **changes))
    with pytest.raises(LoadFailed) as caught:
        family_of(config.model_class).layout(config)
    return caught.value.message


def accepted(model: str, **changes: object) -> dict[str, object]:
    config = Config(config_of(model, **changes))
    return dict(family_of(config.model_class).layout(config).metadata)


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        ("SmolLM2-135M", "hidden_act", "gelu"),
        ("SmolLM2-135M", "partial_rotary_factor", 0.5),
        ("SmolLM2-135M", "is_causal", False),
        ("SmolLM2-135M", "layer_types", ["linear_attention"] * 30),
        ("SmolLM2-135M", "layer_types", ["full_attention"] * 29),
        ("SmolLM2-135M", "num_key_value_heads", 2),
        ("SmolLM2-135M", "num_hidden_layers", 513),
        ("SmolLM2-135M", "head_dim", 63),
        ("SmolLM2-135M", "head_dim", 2**30),
        ("SmolLM2-135M", "quantization_config", {"quant_method": "fp8"}),
        ("Mistral-7B-v0.1", "attention_bias", True),
        ("SmolLM3-3B", "attention_bias", True),
        ("SmolLM3-3B", "mlp_bias", True),
        ("SmolLM3-3B", "no_rope_layers", [1] * 36),
        ("Qwen2.5-0.5B", "head_dim", 128),
        ("Qwen3-0.6B", "attention_bias", True),
        ("gemma-2-2b", "query_pre_attn_scalar", 224),
        ("gemma-2-27b", "query_pre_attn_scalar", 128),
        ("gemma-2-2b", "attn_logit_softcapping", None),
        ("gemma-2-2b", "final_logit_softcapping", None),
        ("gemma-2-2b", "tie_word_embeddings", False),
        ("gemma-2-2b", "layer_types", ["full_attention"] * 26),
        ("gemma-2-2b", "hidden_activation", "gelu"),
        ("gemma-3-1b", "use_bidirectional_attention", True),
        ("gemma-3-1b", "attn_logit_softcapping", 50.0),
        ("gemma-3-1b", "layer_types", ["sliding_attention"] * 13 + ["full_attention"] * 13),
        ("Phi-3.5-mini", "head_dim", 64),
        ("Phi-3.5-mini", "partial_rotary_factor", 0.01),
        ("granite-3.3-2b", "logits_scaling", 0.0),
        ("granite-3.3-2b", "attention_multiplier", 1e300),
    ],
)
def test_a_value_is_refused_by_its_name(model: str, key: str, value: object) -> None:
    names = {"no_rope_layers": "without rope", "num_key_value_heads": "heads", "head_dim": "head"}
    names |= {"layer_types": "layer", "quantization_config": "quantized"}
    assert names.get(key, key) in refused(model, **{key: value})


def test_without_that_value_the_same_config_will_do() -> None:
    for model in MODELS:
        assert accepted(model)


def test_null_is_no_window_and_windows_end_the_context() -> None:
    assert accepted("Mistral-7B-v0.1", sliding_window=None)["llama.context_length"] == 32768
    windows = {"use_sliding_window": True, "sliding_window": 4096}
    assert accepted("Qwen2.5-0.5B", **windows, max_window_layers=23)["qwen2.context_length"] == 4096
    assert accepted("Qwen2.5-0.5B", **windows, max_window_layers=24)["qwen2.context_length"] == 32768
    types = ["full_attention", "sliding_attention"] * 12
    assert accepted("Qwen2.5-0.5B", layer_types=types, sliding_window=512)["qwen2.context_length"] == 512
    assert accepted("SmolLM3-3B", **windows, layer_types=None)["smollm3.context_length"] == 4096
    assert accepted("Phi-3.5-mini", sliding_window=2047)["phi3.context_length"] == 2047
    assert accepted("Phi-3.5-mini", sliding_window=2047)["phi3.attention.sliding_window"] == 0


def test_a_pattern_of_windows_is_written_where_it_is_not_the_usual_one() -> None:
    key = "gemma3.attention.sliding_window_pattern"
    full, sliding = "full_attention", "sliding_attention"
    assert key not in accepted("gemma-3-1b")
    assert accepted("gemma-3-1b", sliding_window_pattern=4)[key] == 4
    usual = [full if layer % 6 == 5 else sliding for layer in range(26)]
    assert key not in accepted("gemma-3-1b", layer_types=usual, sliding_window_pattern=None)
    assert accepted("gemma-3-1b", layer_types=[sliding, full] * 13, sliding_window_pattern=None)[key] == 2
    assert accepted("gemma-3-1b", layer_types=[sliding] * 26)[key] == 27
    assert "gemma3.attention.sliding_window" not in accepted("gemma-3-1b", layer_types=[full] * 26)
    assert "regular" in refused("gemma-3-1b", layer_types=[full, sliding] * 13)


NONSENSE: list[object] = [
    None,
    -1,
    0,
    1,
    2,
    2**31 - 1,
    2**31,
    0.5,
    1e-300,
    1e308,
    math.nan,
    True,
    "x",
    "x" * 10_000,
    [],
    [1e308] * 48,
    [None],
    ["full_attention"],
    {},
    {"rope_type": {}},
    {"rope_type": "yarn", "factor": 1e308},
    {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4},
    {"rope_type": "longrope", "long_factor": [1e308] * 48, "short_factor": [1] * 48},
    {"full_attention": 3},
]


@pytest.mark.parametrize("model", MODELS)
def test_nonsense_is_refused_or_harmless(model: str) -> None:
    config = config_of(model)
    values = {**config, **config.pop("text_config", {})}
    messages = [
        refusal_of({**values, key: nonsense})
        for key in [*values, "head_dim", "rope_parameters", "rope_scaling", "sliding_window", "layer_types"]
        for nonsense in NONSENSE
    ]
    assert max(map(len, messages)) < 600
    assert sum(map(bool, messages)) > len(messages) / 10


def refusal_of(values: dict[str, object]) -> str:
    """The message of the LoadFailed, or nothing; any other error goes up."""
    try:
        config = Config(values)
        family_of(config.model_class).layout(config)
    except LoadFailed as error:
        return error.message
    return ""
