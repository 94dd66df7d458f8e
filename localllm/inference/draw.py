"""A random draw from the softmax of logits."""

import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Logits

BLOCK = 256


def draw_index(logits: Logits, random: np.random.Generator) -> int:
    """An index of float32 `logits` [n], drawn with probabilities softmax(logits); the largest of them must be 0."""
    weights = np.exp(logits)
    share = random.random()
    if len(weights) <= BLOCK:
        return _pass(weights, share * float(weights.sum(dtype=np.float64)))
    # Block by block, then within one: a running sum over a whole vocabulary costs more than all else here.
    blocks = np.add.reduceat(weights, np.arange(0, len(weights), BLOCK), dtype=np.float64)
    target = share * float(blocks.sum())
    block = _pass(blocks, target)
    return block * BLOCK + _pass(weights[block * BLOCK :][:BLOCK], target - float(blocks[:block].sum()))


def _pass(weights: NDArray[np.floating], target: float) -> int:
    """Index at which the running sum passes `target`; where rounding leaves it short, the last that is not 0."""
    sums = weights.cumsum(dtype=np.float64)
    at = int(sums.searchsorted(target, side="right"))
    return at if at < len(sums) else int(sums.searchsorted(sums[-1]))
