"""DRY: a penalty on tokens that would go on repeating what the text already says.

"Don't Repeat Yourself", p-e-w, text-generation-webui pull request 5677. If the last n tokens also stand earlier
in the text, the token that followed them there loses multiplier · base ** (n - allowed_length), from
n = allowed_length on; the longest such n counts. A sequence breaker ends what n may reach back to.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Logits, Tokenizer
from localllm.inference.breakers import SequenceBreakers
from localllm.types import Sampling

LARGEST_POWER = 69.0  # of e: more makes no difference to what is drawn, and would overflow in the end
SPARE_TOKENS = 1024

Counts = NDArray[np.int32]


class DryPenalty:
    """The penalty for one job. Keeps the last `dry_penalty_last_n` tokens, prompt included (-1: all).

    For each place in them it holds how many tokens ending there equal the end of the text. A new token makes that
    one more where it stands, after a place that matched, and 0 elsewhere: one pass over the window.
    """

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self._multiplier = sampling.dry_multiplier
        self._log_base = float(np.log(max(sampling.dry_base, 1.0)))
        self._allowed = sampling.dry_allowed_length
        self._window = sampling.dry_penalty_last_n
        recent = list(prompt if self._window < 0 else prompt[max(len(prompt) - self._window, 0) :])
        self._size = len(recent)
        self._tokens = np.empty(self._size + SPARE_TOKENS, np.int32)
        self._matches = np.zeros(self._size + SPARE_TOKENS, np.int32)
        self._tokens[: self._size] = recent
        self._matches[: self._size] = suffix_matches(recent)
        self._breakers = SequenceBreakers(sampling.dry_sequence_breakers, tokenizer, recent)

    def apply(self, logits: Logits) -> None:
        """Take the penalties off float32 logits [vocab_size], in place."""
        first = 0 if self._window < 0 else max(self._size - self._window, 0)
        matches = self._matches[first : max(self._size - 1, first)]
        lengths = np.minimum(matches, np.arange(1, len(matches) + 1))  # none reaches back over the window's start,
        lengths = np.minimum(lengths, self._breakers.reach)  # nor over a breaker
        repeating = np.flatnonzero(lengths >= self._allowed)
        if not len(repeating):
            return
        tokens, which = np.unique(self._tokens[first + 1 + repeating], return_inverse=True)
        longest = np.zeros(len(tokens), lengths.dtype)
        np.maximum.at(longest, which, lengths[repeating])
        for token, length in zip(tokens.tolist(), longest.tolist(), strict=True):
            if not self._breakers.holds(token):
                logits[token] -= self._penalty(length)

    def accept(self, token: int) -> None:
        """Add a token to the text."""
        self._make_room()
        size, matches = self._size, self._matches
        # At place i the run is one longer than it was at i - 1, if the same token stands at i.
        longer = matches[: size - 1] + 1 if size else matches[:0]
        matches[1:size] = np.where(self._tokens[1:size] == token, longer, 0)
        if size:
            matches[0] = self._tokens[0] == token
        self._tokens[size] = token
        matches[size] = 0  # the end itself is no repetition
        self._size += 1
        self._breakers.accept(token)

    def _penalty(self, length: int) -> np.float32:
        power = (length - self._allowed) * self._log_base
        return np.float32(self._multiplier * np.exp(min(power, LARGEST_POWER)))

    def _make_room(self) -> None:
        """Drop what lies before the window, or grow."""
        if self._size < len(self._tokens):
            return
        kept = self._size if self._window < 0 else min(self._window, self._size)
        room = np.empty(kept + max(kept, SPARE_TOKENS), np.int32)
        matches = np.zeros_like(room)
        room[:kept] = self._tokens[self._size - kept : self._size]
        matches[:kept] = self._matches[self._size - kept : self._size]
        self._tokens, self._matches, self._size = room, matches, kept


def suffix_matches(tokens: Sequence[int]) -> Counts:
    """For each place, how many tokens that end there equal as many at the end of `tokens`; 0 for the last place.

    The Z-algorithm (Gusfield 1997, "Algorithms on Strings, Trees, and Sequences", 1.4) on the reversed tokens:
    linear time.
    """
    size = len(tokens)
    reverse = tokens[::-1]
    z = [0] * size
    left = right = 0  # reverse[left:right] is the rightmost known copy of a beginning
    for i in range(1, size):
        length = min(right - i, z[i - left]) if i < right else 0
        while i + length < size and reverse[length] == reverse[i + length]:
            length += 1
        z[i] = length
        if i + length > right:
            left, right = i, i + length
    return np.array(z[::-1], np.int32)
