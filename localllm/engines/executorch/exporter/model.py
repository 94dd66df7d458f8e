"""The model as ExecuTorch's own Transformer, with the weights of a GGUF file."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from localllm.engines.executorch.exporter.shape import Shape
from localllm.errors import LoadFailed

if TYPE_CHECKING:
    import torch
    from executorch.examples.models.llama.model_args import ModelArgs
    from executorch.examples.models.llama.rope import Rope
    from torch import nn

MOST_TOKENS_A_CALL = 256  # more make prompts hardly faster, and keep the process from anything else for longer


def call_tokens(context_tokens: int) -> int:
    """The `max_seq_len` of a program: one more than a call takes, since ExecuTorch exports it so."""
    return min(MOST_TOKENS_A_CALL + 1, context_tokens)


def build_model(
    shape: Shape,
    state: "Iterable[tuple[str, torch.Tensor]]",
    angles: "tuple[torch.Tensor, torch.Tensor]",
    context_tokens: int,
) -> "nn.Module":
    """The model in float32. `state` has its weights by name, `angles` cos and sin [context_tokens, head_width].

    Raises LoadFailed where the weights are not those of the shape.
    """
    import torch

    model = _empty_model(_model_args(shape, context_tokens))
    model.rope.freqs_cos, model.rope.freqs_sin = angles
    interval = shape.architecture.unrotated_interval
    for number, layer in enumerate(model.layers, 1):
        if interval and number % interval == 0:
            layer.attention.rope = _no_rope()
    try:
        missing, unexpected = model.load_state_dict(dict(state), strict=False, assign=True)
    except RuntimeError as error:
        raise LoadFailed(f"the weights do not fit the model: {' '.join(str(error).split())[:300]}") from error
    lacking = [name for name in missing if not name.endswith(("k_cache", "v_cache"))]
    if lacking or unexpected:
        raise LoadFailed(f"the weights do not fit the model; at fault: {', '.join([*lacking, *unexpected][:5])}")
    return model.requires_grad_(False).to(torch.float32).eval()


def _model_args(shape: Shape, context_tokens: int) -> "ModelArgs":
    from executorch.examples.models.llama.model_args import ModelArgs

    return ModelArgs(
        dim=shape.width,
        n_layers=shape.layers,
        n_heads=shape.heads,
        n_kv_heads=shape.kv_heads,
        head_dim=shape.head_width,
        hidden_dim=shape.feed_forward,
        vocab_size=shape.vocabulary,
        norm_eps=shape.epsilon,
        attention_qkv_bias=shape.has_biases,
        use_qk_norm=shape.architecture.has_head_norms,
        qk_norm_before_rope=True,
        use_hf_rope=True,  # by halves: concatenations, which back ends take, where neighbours need strides
        max_batch_size=1,
        max_seq_len=call_tokens(context_tokens),
        max_context_len=context_tokens,
        use_kv_cache=True,
        use_sdpa_with_kv_cache_op=True,
        enable_dynamic_shape=True,
    )


def _empty_model(args: "ModelArgs") -> "nn.Module":
    """As `construct_transformer`, but all layers share one causal mask, which takes the square of the context."""
    import torch
    from executorch.examples.models.llama.attention import AttentionMHA, KVCache
    from executorch.examples.models.llama.llama_transformer import Transformer, TransformerBlock
    from executorch.examples.models.llama.rope import Rope

    context = args.max_context_len
    mask = torch.ones(context, context, dtype=torch.bool).tril_()
    slight = dataclasses.replace(args, max_context_len=1)
    with torch.device("meta"):
        rope = Rope(args)
        layers = torch.nn.ModuleList()
        for layer in range(args.n_layers):
            attention = AttentionMHA(slight, layer, rope)
            attention.max_context_len = attention.SDPA.max_context_len = context
            attention.mask = mask
            attention.kv_cache = KVCache(1, context, attention.n_kv_heads, attention.head_dim, True)
            layers.append(TransformerBlock(args, attention, layer_id=layer))
        return Transformer(args, layers, rope)


def _no_rope() -> "Rope":
    """A rope for the attention of layers that have none."""
    from torch import nn

    class NoRope(nn.Module):  # type: ignore[misc]
        def forward(
            self, q: "torch.Tensor", k: "torch.Tensor", _cos: "torch.Tensor", _sin: "torch.Tensor"
        ) -> "tuple[torch.Tensor, torch.Tensor]":
            return q, k

    return NoRope()
