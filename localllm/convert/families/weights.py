"""Tables of the tensors of one layer: their names in a checkpoint, in a GGUF file, and their shapes.

Names of checkpoints are those of transformers (models/*/modeling_*.py), names of GGUF those of llama.cpp
(src/llama-arch.cpp, LLM_TENSOR_NAMES).
"""

from typing import Literal

from msgspec import Struct

from localllm.convert.config import Config
from localllm.convert.families.base import TensorRule
from localllm.convert.families.dimensions import Dimensions, Size

Heads = Literal["heads", "kv_heads"]


class Weight(Struct, frozen=True):
    """A tensor of a layer; the names go on after "model.layers.<number>." and "blk.<number>."."""

    source: str
    target: str
    shape: tuple[Size, ...]
    paired: Heads | None = None  # rows go to pairs, in so many heads
    flag: str = ""  # there where this key of config.json is true; empty: always


INPUT_NORM = Weight("input_layernorm.weight", "attn_norm.weight", ("width",))
FEED_FORWARD_NORM = Weight("post_attention_layernorm.weight", "ffn_norm.weight", ("width",))

# llama.cpp rotates the heads of some architectures in pairs of neighbours ("normal" rope of llama_model_rope_type,
# src/llama-model.cpp), transformers always in halves: there the rows of queries and keys change places.
PAIRED_ATTENTION = (
    Weight("self_attn.q_proj.weight", "attn_q.weight", ("queries", "width"), "heads"),
    Weight("self_attn.k_proj.weight", "attn_k.weight", ("keys", "width"), "kv_heads"),
    Weight("self_attn.v_proj.weight", "attn_v.weight", ("keys", "width")),
    Weight("self_attn.o_proj.weight", "attn_output.weight", ("width", "queries")),
)
ATTENTION = (
    Weight("self_attn.q_proj.weight", "attn_q.weight", ("queries", "width")),
    Weight("self_attn.k_proj.weight", "attn_k.weight", ("keys", "width")),
    Weight("self_attn.v_proj.weight", "attn_v.weight", ("keys", "width")),
    Weight("self_attn.o_proj.weight", "attn_output.weight", ("width", "queries")),
)
FUSED_ATTENTION = (
    Weight("self_attn.qkv_proj.weight", "attn_qkv.weight", ("fused", "width")),
    Weight("self_attn.o_proj.weight", "attn_output.weight", ("width", "queries")),
)
PAIRED_ATTENTION_BIASES = (
    Weight("self_attn.q_proj.bias", "attn_q.bias", ("queries",), "heads", "attention_bias"),
    Weight("self_attn.k_proj.bias", "attn_k.bias", ("keys",), "kv_heads", "attention_bias"),
    Weight("self_attn.v_proj.bias", "attn_v.bias", ("keys",), None, "attention_bias"),
    Weight("self_attn.o_proj.bias", "attn_output.bias", ("width",), None, "attention_bias"),
)
QKV_BIASES = (
    Weight("self_attn.q_proj.bias", "attn_q.bias", ("queries",)),
    Weight("self_attn.k_proj.bias", "attn_k.bias", ("keys",)),
    Weight("self_attn.v_proj.bias", "attn_v.bias", ("keys",)),
)
QK_NORMS = (
    Weight("self_attn.q_norm.weight", "attn_q_norm.weight", ("head",)),
    Weight("self_attn.k_norm.weight", "attn_k_norm.weight", ("head",)),
)
FEED_FORWARD = (
    Weight("mlp.gate_proj.weight", "ffn_gate.weight", ("feed_forward", "width")),
    Weight("mlp.up_proj.weight", "ffn_up.weight", ("feed_forward", "width")),
    Weight("mlp.down_proj.weight", "ffn_down.weight", ("width", "feed_forward")),
)
FUSED_FEED_FORWARD = (
    Weight("mlp.gate_up_proj.weight", "ffn_up.weight", ("gate_and_up", "width")),
    Weight("mlp.down_proj.weight", "ffn_down.weight", ("width", "feed_forward")),
)
FEED_FORWARD_BIASES = (
    Weight("mlp.gate_proj.bias", "ffn_gate.bias", ("feed_forward",), None, "mlp_bias"),
    Weight("mlp.up_proj.bias", "ffn_up.bias", ("feed_forward",), None, "mlp_bias"),
    Weight("mlp.down_proj.bias", "ffn_down.bias", ("width",), None, "mlp_bias"),
)
# Gemma 2 and 3 have norms on both sides; transformers' name of one stands for another one elsewhere.
SANDWICH_NORMS = (
    INPUT_NORM,
    Weight("post_attention_layernorm.weight", "post_attention_norm.weight", ("width",)),
    Weight("pre_feedforward_layernorm.weight", "ffn_norm.weight", ("width",)),
    Weight("post_feedforward_layernorm.weight", "post_ffw_norm.weight", ("width",)),
)


def rules_of(
    weights: tuple[Weight, ...], config: Config, dimensions: Dimensions, *, is_tied: bool, norm_offset: float
) -> tuple[TensorRule, ...]:
    """Every tensor of a decoder whose layers have these `weights`; `norm_offset` is added to those of its norms."""
    width, vocabulary = dimensions.width, dimensions.vocabulary
    ends = [TensorRule(source="model.embed_tokens.weight", target="token_embd.weight", shape=(vocabulary, width))]
    if not is_tied:
        ends.append(TensorRule(source="lm_head.weight", target="output.weight", shape=(vocabulary, width)))
    ends.append(TensorRule(source="model.norm.weight", target="output_norm.weight", shape=(width,), added=norm_offset))
    present = [weight for weight in weights if not weight.flag or config.flag(weight.flag, False)]
    sizes = dimensions.sizes
    paired = {"heads": dimensions.heads, "kv_heads": dimensions.kv_heads}
    layers = [
        TensorRule(
            source=f"model.layers.{layer}.{weight.source}",
            target=f"blk.{layer}.{weight.target}",
            shape=tuple(sizes[size] for size in weight.shape),
            paired_heads=paired[weight.paired] if weight.paired else 0,
            added=norm_offset if weight.target.endswith("norm.weight") else 0.0,
        )
        for layer in range(dimensions.layers)
        for weight in present
    ]
    return (*ends, *layers)
