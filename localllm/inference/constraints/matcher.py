"""A compiled grammar at a point of one answer."""

from collections.abc import Callable

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from localllm.errors import EngineError, InvalidRequest
from localllm.inference.constraints.refusals import PARAM, library_words
from localllm.inference.constraints.vocabulary import Vocabulary

LIMIT_REASONS = frozenset({"LexerTooComplex", "ParserTooComplex"})

# What to add to eight logits for each byte of a mask, lowest bit first: float32 [256, 8] of 0 and -inf.
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
ADDED = np.where(_BITS == 1, np.float32(0), np.float32(-np.inf))


class GrammarMatcher:
    """A TokenConstraint (engines/job.py). For one answer and one thread; `dropped` is called when it fails."""

    def __init__(self, matcher: LLMatcher, vocabulary: Vocabulary, dropped: Callable[[], None]) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._dropped = dropped
        self._words = np.zeros(len(vocabulary.text_tokens), np.uint32)
        self._added = np.empty((self._words.nbytes, 8), np.float32)

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set float32 logits [vocab_size] of tokens that may not come next to -inf, in place.

        Raises InvalidRequest when the grammar became too complex, or leaves no token that this model has.
        """
        words = self._words
        self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        if self._matcher.is_error():  # the mask then allows the end, which would cut the answer short
            raise self._failure()
        may_end = bool((words & self._vocabulary.ends).any())
        np.bitwise_and(words, self._vocabulary.text_tokens, out=words)
        if may_end:  # then by any end token
            np.bitwise_or(words, self._vocabulary.ends, out=words)
        elif not words.any():
            raise InvalidRequest("the grammar asks for what this model has no token for", param=PARAM)
        # Eight logits a byte, without a branch for each: several times as fast as a boolean mask.
        np.take(ADDED, words.view(np.uint8), axis=0, out=self._added, mode="clip")
        np.add(logits, self._added.reshape(-1)[: self._vocabulary.size], out=logits)

    def accept(self, token: int) -> None:
        """Move past a token. Raises EngineError for one that may not come next, InvalidRequest as `mask` does."""
        if self._matcher.consume_token(token):
            return
        if self._matcher.stop_reason() in LIMIT_REASONS:
            raise self._failure()
        raise EngineError(f"token {token} was chosen, which the grammar forbids here")

    def forced(self) -> list[int]:
        """Tokens that must come next; none for Lark grammars. They never split what came before anew."""
        tokens = self._matcher.compute_ff_tokens()
        return [] if self._matcher.is_error() else tokens

    @property
    def is_complete(self) -> bool:
        """Whether nothing but the end may follow."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def _failure(self) -> InvalidRequest:
        self._dropped()
        words = library_words(self._matcher.get_error())
        return InvalidRequest(
            f"the grammar became too complex in the middle of the answer ({words}); make it simpler", param=PARAM
        )
