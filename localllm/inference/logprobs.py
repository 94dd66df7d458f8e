"""How likely the model held a token and its rivals."""

import numpy as np

from localllm.engines.base import Logits, Tokenizer
from localllm.types import TokenLogprob, TopLogprob

LOWEST = -9999.0  # stands for anything less, and for impossible: JSON has no -inf


def token_logprob(logits: Logits, token: int, rivals: int, tokenizer: Tokenizer) -> TokenLogprob:
    """The token's natural log probability, and those of the `rivals` likeliest tokens, likeliest first.

    `logits` float32 [vocab_size], as the model gave them. Computed in float64: over all tokens the probabilities
    sum to 1 within 1e-6.
    """
    values = logits.astype(np.float64)
    values -= values.max()
    total = float(np.log(np.exp(values).sum()))

    def entry(index: int) -> tuple[bytes, float]:
        return tokenizer.piece(index), max(float(values[index]) - total, LOWEST)

    top = (TopLogprob(*entry(index)) for index in _likeliest(logits, rivals))
    return TokenLogprob(*entry(token), tuple(top))


def _likeliest(logits: Logits, count: int) -> list[int]:
    """Tokens by falling logit, then by rising id."""
    count = min(count, len(logits))
    if count == 0:
        return []
    found = np.argpartition(logits, -count)[-count:]
    order: list[int] = found[np.lexsort((found, -logits[found]))].tolist()
    return order
