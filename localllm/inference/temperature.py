"""The temperature that follows how sure the model is."""

import numpy as np

from localllm.engines.base import Logits


def entropy_temperature(logits: Logits, peak: float, middle: float, reach: float, exponent: float) -> float:
    """Temperature for logits [n], the largest of which is `peak`.

    Dynamic temperature as llama.cpp has it (`temp_ext`; after Zhu et al. 2023, arXiv 2309.02772): from
    max(0, middle - reach) where one token is certain to middle + reach where all are equally likely,
    by (entropy / ln n) ** exponent between. Logits of -inf do not count.
    """
    lowest, highest = max(0.0, middle - reach), middle + reach
    shifted = logits[logits > -np.inf].astype(np.float64) - peak
    if len(shifted) < 2:
        return middle
    weights = np.exp(shifted)
    total = float(weights.sum())
    entropy = float(np.log(total) - weights @ shifted / total)
    share = min(max(entropy / float(np.log(len(shifted))), 0.0), 1.0)  # rounding may leave the range
    return float(lowest + (highest - lowest) * share**exponent)
