"""What is done to the logits before a token is chosen: penalties and biases."""

from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Logits, Tokenizer
from localllm.inference.dry import DryPenalty
from localllm.types import Sampling


class RepeatPenalty:
    """Logits of the last tokens are divided by the penalty where positive, multiplied where not.

    Keskar et al. 2019, CTRL, eq. 2, as llama.cpp applies it. Looks back `window` tokens; -1: all.
    """

    def __init__(self, penalty: float, window: int, prompt: Sequence[int]) -> None:
        self._penalty = penalty
        self._recent = deque(prompt[max(len(prompt) - window, 0) :] if window >= 0 else ())
        self._window = window
        self._counts = Counter(self._recent if window >= 0 else prompt)
        self._distinct: NDArray[np.int64] | None = None  # the tokens counted; None: to be made anew

    def apply(self, logits: Logits) -> None:
        """Change float32 logits [vocab_size] in place."""
        if self._distinct is None:
            self._distinct = np.fromiter(self._counts, np.int64, len(self._counts))
        values = logits[self._distinct]
        logits[self._distinct] = np.where(values > 0, values / self._penalty, values * self._penalty)

    def accept(self, token: int) -> None:
        """Add a token to the window; the oldest leaves a full one."""
        count = self._counts.get(token, 0)
        if not count:
            self._distinct = None
        self._counts[token] = count + 1
        if self._window < 0:
            return
        self._recent.append(token)
        if len(self._recent) > self._window:
            oldest = self._recent.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
                self._distinct = None


class LogitAdjuster:
    """First the repeat penalty, then everything additive.

    That is logit_bias, frequency and presence penalties, forbidden ends, and DRY (`dry.py`). Frequency and presence
    penalties (OpenAI API reference): `-= count · frequency + (count > 0) · presence` over the answer alone.
    """

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self._repeat: RepeatPenalty | None = None
        if sampling.repeat_penalty != 1.0 and sampling.repeat_last_n:
            self._repeat = RepeatPenalty(sampling.repeat_penalty, sampling.repeat_last_n, prompt)
        self._frequency = sampling.frequency_penalty
        self._presence = sampling.presence_penalty
        self._counts_tokens = bool(self._frequency or self._presence)
        self._seen: set[int] = set()
        self._bias = _bias(sampling, tokenizer.vocab_size)
        self._forbidden = sorted(tokenizer.end_tokens) if sampling.ignore_eos else []
        self._dry: DryPenalty | None = None
        if sampling.dry_multiplier and sampling.dry_penalty_last_n:
            self._dry = DryPenalty(sampling, tokenizer, prompt)
        self._only_forbids = self._bias is None and self._repeat is None and self._dry is None

    @property
    def is_idle(self) -> bool:
        """Whether `apply` would change nothing, now and later."""
        return self._only_forbids and not self._forbidden

    def leaves(self, likeliest: int) -> bool:
        """Whether `apply` would leave this token the likeliest: where all it does is to forbid other ones."""
        return self._only_forbids and likeliest not in self._forbidden

    def apply(self, logits: Logits) -> Logits:
        """Adjusted logits; a new array, [vocab_size]."""
        adjusted = logits.copy()
        if self._repeat is not None:
            self._repeat.apply(adjusted)
        if self._bias is not None:
            adjusted += self._bias
        if self._forbidden:
            adjusted[self._forbidden] = -np.inf
        if self._dry is not None:
            self._dry.apply(adjusted)
        return adjusted

    def accept(self, token: int) -> None:
        """Count a chosen token."""
        if self._repeat is not None:
            self._repeat.accept(token)
        if self._dry is not None:
            self._dry.accept(token)
        if self._counts_tokens and self._bias is not None:
            self._bias[token] -= self._frequency
            if token not in self._seen:
                self._seen.add(token)
                self._bias[token] -= self._presence


def _bias(sampling: Sampling, vocab_size: int) -> Logits | None:
    """What is added to the logits before anything was chosen; None where nothing ever will be."""
    if not (sampling.logit_bias or sampling.frequency_penalty or sampling.presence_penalty):
        return None
    bias = np.zeros(vocab_size, np.float32)
    for token, amount in sampling.logit_bias.items():
        bias[token] = amount
    return bias
