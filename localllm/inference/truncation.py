"""Which tokens may still be drawn: the truncations of the distribution.

Each takes logits [n] of the tokens that are left (float32, largest one `peak`, some may be -inf) and returns the
indexes of those to keep, at least one. Each looks at the softmax of what the ones before it left.
"""

import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Logits

TIERS = (1e-3, 1e-4, 1e-5)  # probabilities to look above for a nucleus
REACHES_NATS = (0.25, 1.0, 4.0)  # distances from the entropy to look within for the typical set
LEAST = float(np.finfo(np.float32).min)
XTC_MOST = 0.5  # two tokens cannot both be likelier than this, so a higher threshold removes nothing

TokenIds = NDArray[np.intp]


def top_n_sigma(logits: Logits, peak: float, n: float) -> TokenIds:
    """Tokens whose logit is at most `n` standard deviations of the logits under the largest.

    Tang et al. 2024, "Top-nσ: Not All Logits Are You Need". Logits of -inf do not count.
    """
    deviation = float(logits[logits > -np.inf].std(dtype=np.float64))
    return np.flatnonzero(logits >= max(peak - n * deviation, LEAST))


def top_k(logits: Logits, _peak: float, k: int) -> TokenIds:
    """The `k` likeliest tokens (Fan et al. 2018), in no order."""
    return np.argpartition(logits, -k)[-k:] if k < len(logits) else np.arange(len(logits))


def typical(logits: Logits, peak: float, p: float) -> TokenIds:
    """The smallest set of tokens whose probability exceeds `p`, those first whose surprise is nearest the entropy.

    Meister et al. 2022, "Locally Typical Sampling". The likeliest token may be among those that go.
    """
    possible = np.flatnonzero(logits > -np.inf)
    shifted = logits[possible].astype(np.float64) - peak
    weights = np.exp(shifted)
    total = float(weights.sum())
    # -ln p = ln total - shifted, so its distance from the entropy, its mean, is that of `shifted` from its own.
    distance = np.abs(shifted - float(weights @ shifted) / total)
    target = p * total
    for reach in (*REACHES_NATS, np.inf):
        candidates = np.flatnonzero(distance <= reach)
        found = weights[candidates]
        if float(found.sum()) > target:
            break
    order = distance[candidates].argsort(kind="stable")
    reached = found[order].cumsum()
    kept: TokenIds = possible[candidates[order[: int(reached.searchsorted(target, side="right")) + 1]]]
    return kept


def nucleus(logits: Logits, peak: float, top_p: float) -> TokenIds:
    """The smallest set of likeliest tokens whose probability reaches `top_p`, likeliest first.

    Holtzman et al. 2020. If the tokens above some probability reach it together, the set is among them, and only
    they are sorted. The last tier always does: tokens under (1 - top_p) / n cannot be in the set, since all of them
    together stay under 1 - top_p.
    """
    weights = logits - np.float32(peak)
    np.exp(weights, out=weights)  # in place: at this size new memory costs as much as the work
    total = float(weights.sum())
    target = top_p * total
    for tier in (*TIERS, 0.0):
        candidates = (weights >= total * max(tier, (1 - top_p) / len(weights))).nonzero()[0]
        found = weights[candidates]
        if tier == 0.0 or float(found.sum()) > target:
            break
    order = (-found).argsort(kind="stable")
    reached = found[order].cumsum(dtype=np.float64)
    kept: TokenIds = candidates[order[: int(reached.searchsorted(target)) + 1]]
    return kept


def min_p(logits: Logits, peak: float, share: float) -> TokenIds:
    """Tokens at least `share` times as likely as the likeliest (Nguyen et al. 2024, "Min-p Sampling")."""
    return np.flatnonzero(logits >= peak + np.log(share))


def without_top_choices(logits: Logits, peak: float, threshold: float) -> TokenIds:
    """All tokens but those of probability `threshold` or more; of these the least likely stays.

    "Exclude Top Choices" (XTC): p-e-w, text-generation-webui pull request 6335.
    """
    weights = np.exp(logits.astype(np.float64) - peak)
    top = np.flatnonzero((weights >= threshold * float(weights.sum())) & (weights > 0))
    kept = np.ones(len(logits), np.bool_)
    if len(top) > 1:
        kept[top] = False
        kept[top[weights[top].argmin()]] = True
    return np.flatnonzero(kept)
