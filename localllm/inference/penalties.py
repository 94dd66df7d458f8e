"""What is done to the logits before a token is chosen: penalties and biases."""

from collections import deque
from collections.abc import Iterable

import numpy as np

from localllm.engines.base import Logits
from localllm.types import Sampling

REPEAT_WINDOW_TOKENS = 64


class LogitAdjuster:
    """First the repeat penalty, then everything additive: logit_bias, frequency and presence, forbidden ends.

    Repeat penalty (Keskar et al. 2019, CTRL, eq. 2, as llama.cpp applies it): the logits of the last 64
    tokens, prompt included, are divided by it where positive and multiplied where not. Frequency and presence
    penalties (OpenAI API reference): `-= count · frequency + (count > 0) · presence` over the answer alone.
    """

    def __init__(self, sampling: Sampling, vocab_size: int, prompt: Iterable[int], end_tokens: Iterable[int]) -> None:
        self._repeat_penalty = sampling.repeat_penalty
        self._recent = deque(prompt, maxlen=REPEAT_WINDOW_TOKENS) if self._repeat_penalty != 1.0 else None
        self._frequency = sampling.frequency_penalty
        self._presence = sampling.presence_penalty
        self._counts_tokens = bool(self._frequency or self._presence)
        self._seen: set[int] = set()
        self._bias: Logits | None = None
        if sampling.logit_bias or self._counts_tokens or sampling.ignore_eos:
            self._bias = np.zeros(vocab_size, np.float32)
            for token, bias in sampling.logit_bias.items():
                self._bias[token] = bias
            if sampling.ignore_eos:
                self._bias[list(end_tokens)] = -np.inf

    @property
    def is_idle(self) -> bool:
        """Whether `apply` would change nothing, now and later."""
        return self._bias is None and self._recent is None

    def apply(self, logits: Logits) -> Logits:
        """Adjusted logits; a new array, [vocab_size]."""
        adjusted = logits.copy()
        if self._recent:
            tokens = np.fromiter(set(self._recent), np.int64)
            values = adjusted[tokens]
            adjusted[tokens] = np.where(values > 0, values / self._repeat_penalty, values * self._repeat_penalty)
        if self._bias is not None:
            adjusted += self._bias
        return adjusted

    def accept(self, token: int) -> None:
        """Count a chosen token."""
        if self._recent is not None:
            self._recent.append(token)
        if self._counts_tokens and self._bias is not None:
            self._bias[token] -= self._frequency
            if token not in self._seen:
                self._seen.add(token)
                self._bias[token] -= self._presence
