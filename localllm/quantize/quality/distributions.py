"""What a model predicts, as distributions over the vocabulary: scored, packed into 16 bits, and compared.

A packed probability says how far it lies below the row's largest, d = DEEPEST · (code / 65535)², in nats. The square
puts the precision where the probability is: measured on SmolLM2-135M (49,152 tokens), the divergence of a model from
its own packed distributions is 3e-9 on average; float16 log-probabilities give 2e-7, and llama.cpp's 16 steps a nat
within 16 nats of the largest (`perplexity.cpp`, `log_softmax`) 1e-2, for the cut tail is worth that much. Unpacked
rows are scaled to the sum of 1 again, which makes errors count only by their square (a first-order change of p within
the simplex does not change the divergence of p from itself), and which no divergence below 0 can come from.
"""

import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Logits, TokenArray

Codes = NDArray[np.uint16]  # [rows, vocab_size]
Reals = NDArray[np.float64]  # [rows]
Tops = NDArray[np.intp]  # [rows]

DEEPEST = 64.0  # nats: what lies deeper counts as 0; a million tokens of e^-64 have less than 1e-21 together
_MOST_CODE = 65535
_DEPTHS = (DEEPEST * np.square(np.arange(_MOST_CODE + 1) / _MOST_CODE)).astype(np.float32)
_WEIGHTS = np.exp(-_DEPTHS)
_WEIGHTS[_MOST_CODE] = 0


class NumbersBroke(ArithmeticError):  # noqa: N818 - as in localllm.errors
    """Logits are not finite, or too large to subtract."""


class Distributions:
    """The distributions that logits stand for, float32 [rows, vocab_size]. Raises NumbersBroke."""

    def __init__(self, logits: Logits) -> None:
        if not np.isfinite(logits).all():
            raise NumbersBroke
        try:
            with np.errstate(over="raise"):
                self._shifted = logits - logits.max(axis=1, keepdims=True)
        except FloatingPointError as error:
            raise NumbersBroke from error
        self._log_sums: Reals = np.log(np.exp(self._shifted).sum(axis=1, dtype=np.float64))

    def surprise(self, tokens: TokenArray) -> Reals:
        """Negative log-likelihood of one token a row, int32 [rows], in nats: float64 [rows]."""
        chosen = self._shifted[np.arange(len(tokens)), tokens].astype(np.float64)
        surprise: Reals = self._log_sums - chosen
        return surprise

    def packed(self) -> Codes:
        """As codes, uint16 [rows, vocab_size]."""
        roots = np.minimum(np.sqrt(np.negative(self._shifted) / np.float32(DEEPEST)), np.float32(1))
        roots *= _MOST_CODE
        codes: Codes = np.rint(roots, out=roots).astype(np.uint16)
        return codes

    def divergence_from(self, base: Codes) -> Reals:
        """KL(base || this) of each row in nats (Kullback and Leibler 1951, eq. 2.4), float64 [rows].

        Σ p (log p - log q), with p = w / W, w the weight that a code stands for, W their sum.
        """
        weights = _WEIGHTS[base]
        terms = _DEPTHS[base]
        terms += self._shifted
        terms *= weights
        sums = weights.sum(axis=1, dtype=np.float64)
        divergence = -terms.sum(axis=1, dtype=np.float64) / sums - np.log(sums) + self._log_sums
        at_least_zero: Reals = np.maximum(divergence, 0.0)  # rounding may leave -1e-8
        return at_least_zero

    def likeliest(self) -> Tops:
        """The most probable token of each row, the first of equals, [rows]."""
        tops: Tops = self._shifted.argmax(axis=1)
        return tops


def likeliest_of(codes: Codes) -> Tops:
    """The same of packed rows. Only what is within 4e-9 nats of the largest has its code."""
    tops: Tops = codes.argmin(axis=1)
    return tops
