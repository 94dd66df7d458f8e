"""Choosing the next token.

One order, for every engine:
repeat_penalty → logit_bias, frequency_penalty, presence_penalty, ignore_eos
→ temperature 0: the largest logit
→ top_k → top_p → min_p → temperature → a draw seeded by `seed`.
Truncation looks at the distribution before temperature, as llama.cpp does, so that a high temperature
cannot bring back what truncation removed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Logits, Tokenizer
from localllm.errors import EngineError
from localllm.inference.penalties import LogitAdjuster
from localllm.types import Sampling

COLDEST = 1e-3  # a lower temperature draws as this one does: the likeliest token, or one of those equally likely
BLOCK = 256
TIERS = (1e-3, 1e-4, 1e-5)  # probabilities to look above for a nucleus

TokenIds = NDArray[np.intp]


class Sampler:
    """Chooses the tokens of one job."""

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._adjuster = LogitAdjuster(sampling, tokenizer.vocab_size, prompt, tokenizer.end_tokens)
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))

    def choose(self, logits: Logits) -> int:
        """The next token for float32 logits [vocab_size], which are left as they are.

        Raises EngineError when they hold no number to choose by.
        """
        if not self._adjuster.is_idle:
            logits = self._adjuster.apply(logits)
        best = int(logits.argmax())  # a NaN wins, so this one look sees any
        if not np.isfinite(logits[best]):
            raise EngineError("the model's logits are not numbers; its file may be damaged")
        token = best if self._sampling.temperature == 0 else self._draw(logits, float(logits[best]))
        self._adjuster.accept(token)
        return token

    def _draw(self, logits: Logits, peak: float) -> int:
        sampling = self._sampling
        ids: TokenIds | None = None  # None: all of them
        if 0 < sampling.top_k < len(logits):
            ids = np.argpartition(logits, -sampling.top_k)[-sampling.top_k :]
            logits = logits[ids]
        if sampling.top_p < 1:
            kept = _nucleus(logits, peak, sampling.top_p)
            ids, logits = kept if ids is None else ids[kept], logits[kept]
        if sampling.min_p > 0:
            kept = np.flatnonzero(logits >= peak + np.log(sampling.min_p))
            ids, logits = kept if ids is None else ids[kept], logits[kept]
        at = _draw_index((logits - np.float32(peak)) / np.float32(max(sampling.temperature, COLDEST)), self._random)
        return at if ids is None else int(ids[at])


def _draw_index(logits: Logits, random: np.random.Generator) -> int:
    """An index drawn with probabilities softmax(logits); the largest logit is 0."""
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


def _nucleus(logits: Logits, peak: float, top_p: float) -> TokenIds:
    """Indexes of the smallest set of likeliest tokens whose probability reaches `top_p`, likeliest first.

    Holtzman et al. 2020. If the tokens above some probability reach it together, the set is among them, and only
    they are sorted. The last tier always does: tokens under (1 - top_p) / n cannot be in the set, since all of them
    together stay under 1 - top_p.
    """
    weights = np.exp(logits - np.float32(peak))
    total = float(weights.sum())
    target = top_p * total
    for tier in (*TIERS, 0.0):
        candidates = (weights >= total * max(tier, (1 - top_p) / len(weights))).nonzero()[0]
        found = weights[candidates]
        if tier == 0.0 or float(found.sum()) > target:
            break
    order = (-found).argsort(kind="stable")
    reached = found[order].cumsum(dtype=np.float64)
    nucleus: TokenIds = candidates[order[: int(reached.searchsorted(target)) + 1]]
    return nucleus
