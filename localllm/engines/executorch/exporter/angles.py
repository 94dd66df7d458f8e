"""The angles that rotary position embeddings rotate by."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from localllm.engines.executorch.exporter.shape import Shape

if TYPE_CHECKING:
    import torch


def angles_of(
    shape: Shape, divisors: NDArray[np.float32] | None, context_tokens: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The cosines and sines [context_tokens, head_width] float32, the second half of each row as the first.

    `divisors` [head_width / 2] are those of the file's rope_freqs.weight; ggml divides by them just so
    (`ggml_rope_cache_init`). Without, every number is that of transformers.
    """
    import torch

    exponents = torch.arange(0, shape.head_width, 2, dtype=torch.int64).to(torch.float32) / shape.head_width
    frequencies = 1.0 / (shape.rope_base**exponents)
    if divisors is not None:
        frequencies = frequencies / torch.from_numpy(divisors)
    frequencies = frequencies / shape.rope_factor
    angles = torch.outer(torch.arange(context_tokens, dtype=torch.float32), frequencies)
    whole = torch.cat((angles, angles), dim=-1)
    return torch.cos(whole), torch.sin(whole)
