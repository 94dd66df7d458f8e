"""Llama 2 and 3, and what was made after their image: SmolLM2, Mistral (src/models/llama.cpp)."""

from localllm.convert.families.decoder import Decoder, family
from localllm.convert.families.rope import RopeRules
from localllm.convert.families.weights import (
    FEED_FORWARD,
    FEED_FORWARD_BIASES,
    FEED_FORWARD_NORM,
    INPUT_NORM,
    PAIRED_ATTENTION,
    PAIRED_ATTENTION_BIASES,
)

ROPE_KINDS = ("default", "dynamic", "linear", "yarn", "llama3", "longrope")

LLAMA = family(
    Decoder(
        architecture="llama",
        classes=("LlamaForCausalLM",),
        weights=(
            INPUT_NORM,
            *PAIRED_ATTENTION,
            *PAIRED_ATTENTION_BIASES,
            FEED_FORWARD_NORM,
            *FEED_FORWARD,
            *FEED_FORWARD_BIASES,
        ),
        rope=RopeRules(kinds=ROPE_KINDS),
    )
)

MISTRAL = family(
    Decoder(
        architecture="llama",
        classes=("MistralForCausalLM",),
        weights=(INPUT_NORM, *PAIRED_ATTENTION, FEED_FORWARD_NORM, *FEED_FORWARD),
        rope=RopeRules(kinds=ROPE_KINDS),
        windows="unless_null",
        defaults={"num_key_value_heads": 8},
    )
)
