"""Gemma 2 and 3: norms on both sides of each part, windows, soft caps (src/models/gemma2.cpp, gemma3.cpp)."""

import math

from localllm.convert.config import Config
from localllm.convert.families.base import MetadataValue
from localllm.convert.families.decoder import Decoder, family
from localllm.convert.families.dimensions import Dimensions
from localllm.convert.families.positive import positive
from localllm.convert.families.refusal import refusal
from localllm.convert.families.rope import RopeRules
from localllm.convert.families.weights import ATTENTION, FEED_FORWARD, QK_NORMS, SANDWICH_NORMS
from localllm.convert.families.window import window_period

_ACTIVATION = ("hidden_activation", ("gelu_pytorch_tanh",))
_ROPE_KINDS = ("default", "dynamic", "linear")
_PERIODS = {"gemma2": 2, "gemma3": 6}  # layers, of which the last one has no window; llama.cpp's defaults
# Models of so many layers llama.cpp takes for those of 27 billion weights, which scale attention otherwise.
_LARGE_LAYERS = {"gemma2": 46, "gemma3": 62}
_WINDOW = 4096  # of both classes
_SCALAR = 256  # query_pre_attn_scalar of both classes


def _gemma2_more(config: Config, dimensions: Dimensions) -> dict[str, MetadataValue]:
    _check_attention_scale(config, dimensions, "gemma2")
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if not config.has(key):  # null turns it off; llama.cpp always has both
            raise refusal("gemma2", f"{key} is null or missing")
    return {
        "attn_logit_softcapping": positive(config, "attn_logit_softcapping"),
        "final_logit_softcapping": positive(config, "final_logit_softcapping"),
        **_windows(config, dimensions, "gemma2"),
    }


def _gemma3_more(config: Config, dimensions: Dimensions) -> dict[str, MetadataValue]:
    _check_attention_scale(config, dimensions, "gemma3")
    if config.has("attn_logit_softcapping"):
        raise refusal("gemma3", "attn_logit_softcapping is set")
    windows = _windows(config, dimensions, "gemma3")
    if not config.has("final_logit_softcapping"):
        return windows
    return {"final_logit_softcapping": positive(config, "final_logit_softcapping"), **windows}


def _windows(config: Config, dimensions: Dimensions, architecture: str) -> dict[str, MetadataValue]:
    """llama.cpp aborts where there is a window and no layer has it. It takes gemma3 without a window, not gemma2."""
    period = window_period(config, dimensions, architecture, _PERIODS[architecture])
    if period == 1:
        if architecture != "gemma3":
            raise refusal(architecture, "no layer has a sliding window")
        return {}
    metadata: dict[str, MetadataValue] = {"attention.sliding_window": config.count("sliding_window", _WINDOW)}
    if period != _PERIODS[architecture]:
        metadata["attention.sliding_window_pattern"] = period
    return metadata


def _check_attention_scale(config: Config, dimensions: Dimensions, architecture: str) -> None:
    """llama.cpp reads no scale of attention for these, but takes it from the width of a head."""
    is_large = dimensions.layers == _LARGE_LAYERS[architecture]
    expected = dimensions.width // dimensions.heads if is_large else dimensions.head_width
    scalar = positive(config, "query_pre_attn_scalar", _SCALAR)
    if not math.isclose(scalar, expected):
        raise refusal(architecture, f"query_pre_attn_scalar is {scalar:g}, not {expected}")


GEMMA2 = family(
    Decoder(
        architecture="gemma2",
        classes=("Gemma2ForCausalLM",),
        weights=(*SANDWICH_NORMS, *ATTENTION, *FEED_FORWARD),
        rope=RopeRules(kinds=_ROPE_KINDS),
        windows="own",
        defaults={"num_key_value_heads": 4, "head_dim": 256},
        is_tied=True,
        may_be_untied=False,
        activation=_ACTIVATION,
        norm_offset=1.0,
        more=_gemma2_more,
    )
)

GEMMA3 = family(
    Decoder(
        architecture="gemma3",
        classes=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
        weights=(*SANDWICH_NORMS, *ATTENTION, *QK_NORMS, *FEED_FORWARD),
        rope=RopeRules(kinds=_ROPE_KINDS, theta=1_000_000.0, window_theta=10_000.0),
        windows="own",
        defaults={  # Google's own config.json of the models that see leave out most
            "vocab_size": 262_208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 131_072,
            "rms_norm_eps": 1e-6,
        },
        is_tied=True,
        activation=_ACTIVATION,
        norm_offset=1.0,
        more=_gemma3_more,
        dropped=("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."),
        renamed={
            "language_model.model.": "model.",
            "model.language_model.": "model.",
            "language_model.lm_head.": "lm_head.",
        },
    )
)
