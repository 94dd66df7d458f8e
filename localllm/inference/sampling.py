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
        weights = np.exp((logits.astype(np.float64) - peak) / sampling.temperature)
        cumulative = np.cumsum(weights)
        at = int(np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right"))
        at = min(at, len(cumulative) - 1)
        return at if ids is None else int(ids[at])


def _nucleus(logits: Logits, peak: float, top_p: float) -> TokenIds:
    """Indexes of the smallest set of likeliest tokens whose probability reaches `top_p`.

    Holtzman et al. 2020. Tokens under (1 - top_p) / n of the total cannot be in the set, since all of them
    together stay under 1 - top_p; only the others are sorted.
    """
    weights = np.exp(logits - peak)
    total = float(weights.sum(dtype=np.float64))
    candidates = np.flatnonzero(weights >= (1 - top_p) * total / len(weights))
    order = candidates[np.argsort(-weights[candidates], kind="stable")]
    reached = np.cumsum(weights[order], dtype=np.float64)
    return order[: int(np.searchsorted(reached, top_p * total)) + 1]
