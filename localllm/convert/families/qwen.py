"""Qwen 2, 2.5 and 3 (src/models/qwen2.cpp, qwen3.cpp)."""

from localllm.convert.families.decoder import Decoder, family
from localllm.convert.families.rope import RopeRules
from localllm.convert.families.weights import (
    ATTENTION,
    FEED_FORWARD,
    FEED_FORWARD_NORM,
    INPUT_NORM,
    QK_NORMS,
    QKV_BIASES,
)

QWEN2 = family(
    Decoder(
        architecture="qwen2",
        classes=("Qwen2ForCausalLM",),
        weights=(INPUT_NORM, *ATTENTION, *QKV_BIASES, FEED_FORWARD_NORM, *FEED_FORWARD),
        rope=RopeRules(),
        windows="later_layers",
        defaults={"num_key_value_heads": 32},
        has_own_head_width=False,
    )
)

QWEN3 = family(
    Decoder(
        architecture="qwen3",
        classes=("Qwen3ForCausalLM",),
        weights=(INPUT_NORM, *ATTENTION, *QK_NORMS, FEED_FORWARD_NORM, *FEED_FORWARD),
        rope=RopeRules(),
        windows="later_layers",
        defaults={"num_key_value_heads": 32, "head_dim": 128},
    )
)
