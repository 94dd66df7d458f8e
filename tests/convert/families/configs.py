"""config.json of known models, as far as it matters, and how many weights each has, as its makers say."""

import copy
from typing import Any

Values = dict[str, Any]

LLAMA3_ROPE: Values = {
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}


_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)


def _sizes(*sizes: int) -> Values:
    return dict(zip(_SIZES, sizes, strict=True))


_CONFIGS: dict[str, tuple[int, Values]] = {
    "SmolLM2-135M": (
        134_515_008,
        {
            **_sizes(49152, 576, 1536, 30, 9, 3, 8192),
            "architectures": ["LlamaForCausalLM"],
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 100000,
            "rope_scaling": None,
            "rope_interleaved": False,
            "attention_bias": False,
            "tie_word_embeddings": True,
        },
    ),
    "Llama-3.2-1B": (
        1_235_814_400,
        {
            **_sizes(128256, 2048, 8192, 16, 32, 8, 131072),
            "architectures": ["LlamaForCausalLM"],
            "head_dim": 64,
            "hidden_act": "silu",
            "mlp_bias": False,
            "rms_norm_eps": 1e-5,
            "rope_scaling": LLAMA3_ROPE,
            "rope_theta": 500000.0,
            "tie_word_embeddings": True,
        },
    ),
    "Mistral-7B-v0.1": (
        7_241_732_096,
        {
            **_sizes(32000, 4096, 14336, 32, 32, 8, 32768),
            "architectures": ["MistralForCausalLM"],
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "sliding_window": 4096,
            "tie_word_embeddings": False,
        },
    ),
    "SmolLM3-3B": (
        3_075_098_624,
        {
            **_sizes(128256, 2048, 11008, 36, 16, 4, 65536),
            "architectures": ["SmolLM3ForCausalLM"],
            "attention_bias": False,
            "hidden_act": "silu",
            "layer_types": ["full_attention"] * 36,
            "max_window_layers": 28,
            "mlp_bias": False,
            "no_rope_layer_interval": 4,
            "no_rope_layers": [1, 1, 1, 0] * 9,
            "rms_norm_eps": 1e-6,
            "rope_scaling": None,
            "rope_theta": 5000000.0,
            "sliding_window": None,
            "use_sliding_window": False,
        },
    ),
    "Qwen2.5-0.5B": (
        494_032_768,
        {
            **_sizes(151936, 896, 4864, 24, 14, 2, 32768),
            "architectures": ["Qwen2ForCausalLM"],
            "hidden_act": "silu",
            "max_window_layers": 24,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "tie_word_embeddings": True,
            "use_mrope": False,
            "use_sliding_window": False,
        },
    ),
    "Qwen3-0.6B": (
        596_049_920,
        {
            **_sizes(151936, 1024, 3072, 28, 16, 8, 40960),
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": False,
            "head_dim": 128,
            "hidden_act": "silu",
            "max_window_layers": 28,
            "rms_norm_eps": 1e-6,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": None,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
        },
    ),
    "gemma-2-2b": (
        2_614_341_888,
        {
            **_sizes(256000, 2304, 9216, 26, 8, 4, 8192),
            "architectures": ["Gemma2ForCausalLM"],
            "attention_bias": False,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "head_dim": 256,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "sliding_window": 4096,
        },
    ),
    "gemma-2-27b": (
        27_227_128_320,
        {
            **_sizes(256000, 4608, 36864, 46, 32, 16, 8192),
            "architectures": ["Gemma2ForCausalLM"],
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "head_dim": 128,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 144,
            "rms_norm_eps": 1e-6,
            "sliding_window": 4096,
        },
    ),
    "gemma-3-1b": (
        999_885_952,
        {
            **_sizes(262144, 1152, 6912, 26, 4, 1, 32768),
            "architectures": ["Gemma3ForCausalLM"],
            "attention_bias": False,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256,
            "rms_norm_eps": 1e-6,
            "rope_local_base_freq": 10000,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
        },
    ),
    "gemma-3-4b": (
        3_880_263_168,  # of the text model alone
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "text_config": {
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "model_type": "gemma3_text",
                "num_hidden_layers": 34,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window": 1024,
            },
            "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16},
        },
    ),
    "Phi-3.5-mini": (
        3_821_079_552,
        {
            **_sizes(32064, 3072, 8192, 32, 32, 32, 131072),
            "architectures": ["Phi3ForCausalLM"],
            "attention_bias": False,
            "hidden_act": "silu",
            "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "rope_scaling": {
                "long_factor": [1.0 + pair for pair in range(48)],
                "short_factor": [1.0 + pair / 48 for pair in range(48)],
                "type": "longrope",
            },
            "rope_theta": 10000.0,
            "sliding_window": 262144,
            "tie_word_embeddings": False,
        },
    ),
    "Phi-4-mini": (
        3_836_021_760,
        {
            **_sizes(200064, 3072, 8192, 32, 24, 8, 131072),
            "architectures": ["Phi3ForCausalLM"],
            "attention_bias": False,
            "full_attn_mod": 1,
            "hidden_act": "silu",
            "interpolate_factor": 1,
            "mlp_bias": False,
            "original_max_position_embeddings": 4096,
            "partial_rotary_factor": 0.75,
            "rms_norm_eps": 1e-5,
            "rope_scaling": {
                "long_factor": [1.0 + pair for pair in range(48)],
                "short_factor": [1.0] * 48,
                "type": "longrope",
            },
            "rope_theta": 10000.0,
            "sliding_window": 262144,
            "tie_word_embeddings": True,
        },
    ),
    "granite-3.3-2b": (
        2_533_539_840,
        {
            **_sizes(49159, 2048, 8192, 40, 32, 8, 131072),
            "architectures": ["GraniteForCausalLM"],
            "attention_bias": False,
            "attention_multiplier": 0.015625,
            "embedding_multiplier": 12.0,
            "hidden_act": "silu",
            "logits_scaling": 8.0,
            "mlp_bias": False,
            "residual_multiplier": 0.22,
            "rms_norm_eps": 1e-5,
            "rope_scaling": None,
            "rope_theta": 10000000.0,
            "tie_word_embeddings": True,
        },
    ),
}

MODELS = tuple(_CONFIGS)


def config_of(model: str, **changes: object) -> Values:
    """A config.json of one's own, with these values in place of its own."""
    return {**copy.deepcopy(_CONFIGS[model][1]), **changes}


def weights_of(model: str) -> int:
    """Numbers in all tensors."""
    return _CONFIGS[model][0]
