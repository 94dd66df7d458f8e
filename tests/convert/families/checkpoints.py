"""Tiny checkpoints of transformers' own making: random weights, and sizes that show where a head goes astray."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

Values = Mapping[str, Any]

VOCABULARY = 259  # tests/tiny.py: three specials and the bytes
LOGIT_SPREAD = 1.5
NORM_SPREAD = 0.3

SIZES: Values = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,  # 8 numbers each, where nothing else is said
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 0.01,  # large enough to be missed
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
LLAMA3_ROPE: Values = {
    "rope_type": "llama3",
    "rope_theta": 1000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN_ROPE: Values = {
    "rope_type": "yarn",
    "rope_theta": 1000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAST_ROPE: Values = {"rope_type": "default", "rope_theta": 300.0}
LINEAR_ROPE: Values = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0}


def longrope(pairs: int, **more: object) -> Values:
    """With another divisor for each of the `pairs`."""
    return {
        "rope_type": "longrope",
        "rope_theta": 1000.0,
        "long_factor": [1.0 + 0.7 * pair for pair in range(pairs)],
        "short_factor": [1.0 + 0.1 * pair for pair in range(pairs)],
        **more,
    }


class Case(Struct, frozen=True):
    """A checkpoint and how it is read."""

    model: str  # of the classes <model>Config and <model>ForCausalLM
    values: Values = {}  # beside SIZES
    tokens: int = 100  # of the text that is scored
    context: int = 512  # that llama.cpp is asked for


CASES: dict[str, Case] = {
    "llama": Case("Llama"),
    "llama, all heads of their own": Case("Llama", {"num_key_value_heads": 6}),
    "llama, tied": Case("Llama", {"tie_word_embeddings": True}),
    "llama, wide heads": Case("Llama", {"head_dim": 16}),
    "llama, biases": Case("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, llama3": Case("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama, linear": Case("Llama", {"rope_parameters": LINEAR_ROPE}),
    "llama, dynamic": Case("Llama", {"rope_parameters": {**LINEAR_ROPE, "rope_type": "dynamic"}}),
    "llama, yarn": Case("Llama", {"rope_parameters": YARN_ROPE}),
    "llama, longrope, short": Case("Llama", {"rope_parameters": longrope(4)}, 200),
    "llama, longrope, long": Case(
        "Llama",
        {"rope_parameters": longrope(4, original_max_position_embeddings=256, attention_factor=1.3)},
        300,
    ),
    "mistral": Case("Mistral", {"sliding_window": None, "head_dim": 16, "rope_parameters": FAST_ROPE}),
    "mistral, window": Case("Mistral", {"sliding_window": 256}, 256, 256),
    "smollm3": Case("SmolLM3", {"num_hidden_layers": 5}),
    "smollm3, yarn, untied": Case(
        "SmolLM3", {"num_hidden_layers": 4, "rope_parameters": YARN_ROPE, "tie_word_embeddings": False}
    ),
    "qwen2": Case("Qwen2"),
    "qwen2, tied": Case("Qwen2", {"tie_word_embeddings": True}),
    "qwen2, yarn": Case("Qwen2", {"rope_parameters": YARN_ROPE}),
    "qwen2, yarn with a magnitude": Case("Qwen2", {"rope_parameters": {**YARN_ROPE, "attention_factor": 0.8}}),
    "qwen2, yarn with two scales": Case(
        "Qwen2", {"rope_parameters": {**YARN_ROPE, "mscale": 1.5, "mscale_all_dim": 0.5}}
    ),
    "qwen2, windows": Case(
        "Qwen2", {"use_sliding_window": True, "sliding_window": 256, "max_window_layers": 1}, 256, 256
    ),
    "qwen3": Case("Qwen3", {"head_dim": 16, "rope_parameters": FAST_ROPE}),
    "qwen3, yarn, wide heads": Case("Qwen3", {"head_dim": 64, "rope_parameters": YARN_ROPE}),
    "qwen3, tied, linear": Case("Qwen3", {"head_dim": 16, "tie_word_embeddings": True, "rope_parameters": LINEAR_ROPE}),
    "gemma2": Case(
        "Gemma2",
        {"num_hidden_layers": 4, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32},
    ),
    "gemma2, tight caps, linear": Case(
        "Gemma2",
        {
            "num_hidden_layers": 3,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 32,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
            "rope_parameters": LINEAR_ROPE,
        },
    ),
    "gemma3": Case(
        "Gemma3Text",
        {"num_hidden_layers": 7, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32},
    ),
    "gemma3, linear, capped": Case(
        "Gemma3Text",
        {
            "num_hidden_layers": 7,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 32,
            "final_logit_softcapping": 3.0,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 100.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 40.0},
            },
        },
    ),
    "gemma3, every other layer": Case(
        "Gemma3Text",
        {
            "num_hidden_layers": 4,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 32,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "gemma3, no windows": Case(
        "Gemma3Text",
        {
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 32,
            "layer_types": ["full_attention"] * 2,
        },
    ),
    "phi3": Case("Phi3", {"tie_word_embeddings": True, "rope_parameters": FAST_ROPE}),
    "phi3, window": Case("Phi3", {"sliding_window": 256}, 256, 256),
    "phi3, partial": Case("Phi3", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.75}}),
    "phi3, longrope, short": Case(
        "Phi3",
        {
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "original_max_position_embeddings": 256,
            "rope_parameters": longrope(6, partial_rotary_factor=0.75),
        },
        256,
        256,
    ),
    "phi3, longrope, long": Case(
        "Phi3",
        {
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "original_max_position_embeddings": 256,
            "rope_parameters": longrope(6, partial_rotary_factor=0.75),
        },
        300,
    ),
    "granite": Case(
        "Granite",
        {
            "embedding_multiplier": 7.0,
            "residual_multiplier": 0.4,
            "attention_multiplier": 0.2,
            "logits_scaling": 0.5,
            "rope_parameters": FAST_ROPE,
        },
    ),
    "granite, biases, llama3": Case(
        "Granite", {"attention_bias": True, "mlp_bias": True, "rope_parameters": LLAMA3_ROPE}
    ),
}


def config_of(case: Case) -> Any:
    """The configuration of a case, as transformers completes it."""
    import transformers  # takes seconds: not before a test needs it

    return getattr(transformers, f"{case.model}Config")(**{**SIZES, **_copied(case.values)})


def model_of(case: Case, *, seed: int = 7) -> Any:
    """A model with weights that no initialization gives: none is 0 or 1, logits spread as LOGIT_SPREAD says."""
    import transformers

    model = getattr(transformers, f"{case.model.removesuffix('Text')}ForCausalLM")(config_of(case))
    shake(model, seed)
    return model


def shake(model: Any, seed: int) -> None:
    """Random weights, so that what goes through the model keeps its size."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name or parameter.ndim == 1:
            parameter.data += NORM_SPREAD * noise
        else:
            spread = LOGIT_SPREAD if "lm_head" in name or "embed" in name else 1.0
            parameter.data = spread * noise / parameter.shape[-1] ** 0.5
    model.eval()


def save(model: Any, folder: Path) -> Path:
    """The checkpoint, as transformers writes it."""
    model.save_pretrained(folder)
    return folder


def scores(model: Any, tokens: list[int]) -> Any:
    """Logits after each token, [tokens, vocabulary], float32."""
    import torch

    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].float().numpy()


def _copied(values: Values) -> dict[str, Any]:
    """Without what transformers would change in place."""
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
