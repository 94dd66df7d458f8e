"""Whether checking guesses leaves the logits alone, to the bit.

A greedy answer must not depend on how many tokens were guessed ahead. Some kernels add up differently for several
rows than for one (attention, most of all), which is enough to turn two tokens that are
nearly as likely around: in a small model with quantized activations the last bits grow to a difference of 0.5.
"""

import numpy as np

from localllm.engines.base import Batch, Logits, Runner

SINGLE_ROWS = 6  # decoded one by one, and again as the first rows of a batch


def rows_are_exact(runner: Runner, slot: int, count: int) -> bool:
    """Whether the first of `count` rows have the logits that they have alone. Uses a free slot, which is empty
    afterwards. Raises EngineError."""
    info = runner.info
    most = info.context_tokens if info.exact_tokens is None else info.exact_tokens
    if not info.can_rewind or count > min(info.batch_tokens, info.context_tokens, most):
        return False
    compared = min(SINGLE_ROWS, count)
    tokens = np.arange(count, dtype=np.int32) * 7 % runner.tokenizer.vocab_size
    runner.trim(slot, 0)
    batch = Batch(info.batch_tokens)
    alone: list[Logits] = []
    for position in range(compared):
        batch.clear()
        batch.add(slot, position, tokens[position : position + 1], logits=1)
        alone.append(runner.decode(batch)[0].copy())
    runner.trim(slot, 0)
    batch.clear()
    batch.add(slot, 0, tokens[:compared], logits=compared)
    if count > compared:
        batch.add(slot, compared, tokens[compared:], logits=0)
    together = runner.decode(batch)
    is_exact = all(np.array_equal(row, other) for row, other in zip(alone, together, strict=True))
    runner.trim(slot, 0)
    return is_exact
