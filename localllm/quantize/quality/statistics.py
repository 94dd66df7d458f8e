"""Means with their standard errors, taking positions for independent (llama.cpp tools/perplexity/README.md)."""

import numpy as np
from numpy.typing import NDArray

from localllm.quantize.steps import Perplexity

Values = NDArray[np.float64]  # [positions], at least 2


def standard_error(values: Values) -> float:
    """Of the mean: s / √n, s² with Bessel's correction."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def perplexity_of(surprises: Values) -> Perplexity:
    """The exponential of the mean negative log-likelihood in nats (Jelinek et al. 1977).

    Its error by the delta method: the error of the mean times the derivative of exp there.
    """
    with np.errstate(over="ignore"):  # a model that knows nothing may be infinitely surprised
        value = float(np.exp(surprises.mean()))
    return Perplexity(value=value, error=value * standard_error(surprises))
