"""Phi 3, 3.5 and 4 mini: fused projections, LongRoPE (src/models/phi3.cpp)."""

from localllm.convert.config import Config
from localllm.convert.families.base import MetadataValue
from localllm.convert.families.decoder import Decoder, family
from localllm.convert.families.dimensions import Dimensions
from localllm.convert.families.rope import RopeRules
from localllm.convert.families.weights import FEED_FORWARD_NORM, FUSED_ATTENTION, FUSED_FEED_FORWARD, INPUT_NORM


def _no_window(_: Config, __: Dimensions) -> dict[str, MetadataValue]:
    """The graph has no windows, and the context ends where one would begin; some versions want the key."""
    return {"attention.sliding_window": 0}


PHI3 = family(
    Decoder(
        architecture="phi3",
        classes=("Phi3ForCausalLM",),
        weights=(INPUT_NORM, *FUSED_ATTENTION, FEED_FORWARD_NORM, *FUSED_FEED_FORWARD),
        rope=RopeRules(
            kinds=("default", "longrope"),
            aliases={"su": "longrope", "yarn": "longrope"},  # its older names, in this class alone
            original_positions=4096,
            may_be_partial=True,
        ),
        windows="set",
        has_own_head_width=False,
        more=_no_window,
    )
)
