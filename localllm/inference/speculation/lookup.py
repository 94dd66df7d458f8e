"""Prompt lookup: what followed the last few tokens the last time they occurred.

Saxena 2023, "Prompt Lookup Decoding". It costs no model, and pays where an answer repeats its prompt or itself:
edits of code, quotations, lists.
"""

import numpy as np

from localllm.inference.sequence import Sequence

MIN_MATCH_TOKENS = 3
MAX_MATCH_TOKENS = 16


class PromptLookup:
    """A Drafter without a memory of its own."""

    def propose(self, sequence: Sequence, most: int) -> list[int]:
        """Up to `most` tokens; none where the last tokens are new."""
        tokens = np.asarray(sequence.tokens, np.int32)
        at = _latest_match(tokens)
        return [] if at is None else [int(token) for token in tokens[at : at + most]]


def _latest_match(tokens: "np.ndarray[tuple[int], np.dtype[np.int32]]") -> int | None:
    """Index behind the earlier occurrence of the longest repeated end, the latest of equals; None without one."""
    if len(tokens) <= MIN_MATCH_TOKENS:
        return None
    ends = np.flatnonzero(tokens[:-1] == tokens[-1])  # candidates: where an occurrence ends
    found = None
    for length in range(1, min(MAX_MATCH_TOKENS, len(tokens))):  # the match found so far
        if length >= MIN_MATCH_TOKENS and len(ends):
            found = int(ends[-1]) + 1
        ends = ends[ends >= length]
        ends = ends[tokens[ends - length] == tokens[-1 - length]]
        if not len(ends):
            break
    return found
