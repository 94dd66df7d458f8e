"""SmolLM3: a Llama where every fourth layer has no rope (src/models/smollm3.cpp)."""

from localllm.convert.config import Config
from localllm.convert.families.base import MetadataValue
from localllm.convert.families.decoder import Decoder, family
from localllm.convert.families.dimensions import Dimensions
from localllm.convert.families.refusal import refusal
from localllm.convert.families.rope import RopeRules
from localllm.convert.families.weights import FEED_FORWARD, FEED_FORWARD_NORM, INPUT_NORM, PAIRED_ATTENTION

_ARCHITECTURE = "smollm3"
_INTERVAL = 4  # n_no_rope_layer_step: llama.cpp reads it from no file


def _check_rope_layers(config: Config, dimensions: Dimensions) -> dict[str, MetadataValue]:
    """Refuse another choice of layers without rope. no_rope_layers has 1 where a layer has it."""
    usual = [float((layer + 1) % _INTERVAL != 0) for layer in range(dimensions.layers)]
    if config.has("no_rope_layers"):
        is_usual = config.numbers("no_rope_layers") == usual
    else:
        is_usual = config.count("no_rope_layer_interval", _INTERVAL) == _INTERVAL
    if not is_usual:
        raise refusal(_ARCHITECTURE, f"layers without rope are others than every {_INTERVAL}th")
    return {}


SMOLLM3 = family(
    Decoder(
        architecture=_ARCHITECTURE,
        classes=("SmolLM3ForCausalLM",),
        weights=(INPUT_NORM, *PAIRED_ATTENTION, FEED_FORWARD_NORM, *FEED_FORWARD),
        rope=RopeRules(theta=2_000_000.0),
        windows="some_layers",
        defaults={"num_key_value_heads": 4},
        is_tied=True,
        more=_check_rope_layers,
    )
)
