"""Granite 3 and 4, dense: a Llama with four scales (src/models/granite.cpp)."""

from localllm.convert.config import Config
from localllm.convert.families.base import MetadataValue
from localllm.convert.families.decoder import Decoder, family
from localllm.convert.families.dimensions import Dimensions
from localllm.convert.families.llama import ROPE_KINDS
from localllm.convert.families.positive import positive
from localllm.convert.families.rope import RopeRules
from localllm.convert.families.weights import (
    FEED_FORWARD,
    FEED_FORWARD_BIASES,
    FEED_FORWARD_NORM,
    INPUT_NORM,
    PAIRED_ATTENTION,
    PAIRED_ATTENTION_BIASES,
)

# Embeddings, what each part adds, and queries times keys are multiplied; logits are divided, here as there.
_SCALES = {
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "attention.scale": "attention_multiplier",
    "logit_scale": "logits_scaling",
}


def _scales(config: Config, _: Dimensions) -> dict[str, MetadataValue]:
    """All four are written: llama.cpp's own scale of attention is not transformers' default, which is 1."""
    return {key: positive(config, name, 1.0) for key, name in _SCALES.items()}


GRANITE = family(
    Decoder(
        architecture="granite",
        classes=("GraniteForCausalLM",),
        weights=(
            INPUT_NORM,
            *PAIRED_ATTENTION,
            *PAIRED_ATTENTION_BIASES,
            FEED_FORWARD_NORM,
            *FEED_FORWARD,
            *FEED_FORWARD_BIASES,
        ),
        rope=RopeRules(kinds=ROPE_KINDS),
        more=_scales,
    )
)
