"""Models whose attention and KV cache are ExecuTorch's own operators."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def use_own_attention(model: "nn.Module") -> "nn.Module":
    """Put them in, in place. The order matters: see ExecuTorch's `custom_kv_cache.py`."""
    from executorch.examples.models.llama.source_transformation.custom_kv_cache import (
        replace_kv_cache_with_custom_kv_cache,
    )
    from executorch.examples.models.llama.source_transformation.sdpa import replace_sdpa_with_custom_op

    return replace_kv_cache_with_custom_kv_cache(replace_sdpa_with_custom_op(model))
