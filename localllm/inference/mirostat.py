"""Mirostat 2: a truncation that steers the surprise of the answer towards a target.

Basu et al. 2021, "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity", algorithm 2.
"""

import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Logits

START = 2.0  # the first limit, in targets
LN2 = float(np.log(2.0))


class Mirostat:
    """Tokens more surprising than a limit go; the limit moves with what was drawn. Surprise is -log2 p, in bits."""

    def __init__(self, target_bits: float, rate: float) -> None:
        self._target_bits = target_bits
        self._rate = rate
        self._limit_bits = START * target_bits

    def keep(self, logits: Logits) -> NDArray[np.intp]:
        """Indexes of the tokens to draw from: at least the likeliest. `logits` [n]: the largest of them is 0."""
        surprise_bits = float(np.log2(np.exp(logits).sum(dtype=np.float64)))  # of the likeliest token
        return np.flatnonzero(logits >= min((surprise_bits - self._limit_bits) * LN2, 0.0))

    def observe(self, logits: Logits, at: int) -> None:
        """Learn that index `at` was drawn from `logits` [n], what `keep` kept; the largest of them is 0."""
        surprise_bits = float(np.log2(np.exp(logits).sum(dtype=np.float64)) - logits[at] / LN2)
        self._limit_bits -= self._rate * (surprise_bits - self._target_bits)
