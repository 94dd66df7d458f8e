"""Rates and quantiles of streamed answers."""

import itertools
from collections.abc import Sequence

from localllm.bench.client import Sample


def decode_rate(samples: Sequence[Sample], after: float = 0.0) -> float:
    """Tokens a second of all streams together, in the time in which every one had begun and none had ended.

    Time before `after` (of `time.perf_counter`) is left out. 0 where there was no such time.
    """
    begin = max([after, *(sample.arrivals[0] for sample in samples)])
    end = min((sample.arrivals[-1] for sample in samples), default=0.0)
    if end <= begin:
        return 0.0
    tokens = 0.0
    for sample in samples:
        within = sum(begin < arrival <= end for arrival in sample.arrivals)
        tokens += within * sample.completion_tokens / len(sample.arrivals)  # a delta may bring several tokens
    return tokens / (end - begin)


def gaps_within(arrivals: Sequence[float], begin: float, end: float) -> list[float]:
    """Seconds between arrivals that follow each other, of those pauses that lie in part between begin and end."""
    pairs = itertools.pairwise(arrivals)
    return [after - before for before, after in pairs if after > begin and before < end]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of all are below; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
