"""Which slot a job gets: neighbours of the running ones, and the one whose KV already begins like its prompt."""

from array import array
from collections.abc import Iterable

import numpy as np
from msgspec import Struct

from localllm.inference.sequence import Sequence

COPY_WORTH_TOKENS = 64  # a whole stream is copied, so fewer shared tokens are cheaper to compute again


class Placement(Struct, frozen=True):
    """Use `slot`, whose first `tokens` match; copy them from `source` first, unless that is the slot itself."""

    slot: int
    source: int
    tokens: int


class SlotTable:
    """What every slot holds. Running sequences stay one run of neighbouring slots wherever that is possible.

    A runner decodes neighbours together and others apart (measured on llama.cpp: 4 streams in slots 0–3 or
    8–11 run 1.4 to 2.9 times as fast as scattered ones), and any run is as good as one from slot 0.
    """

    def __init__(self, count: int) -> None:
        self._running: list[Sequence | None] = [None] * count
        self._kept = [array("i") for _ in range(count)]  # tokens in KV of slots that are not running
        self._last_use = [0] * count
        self._clock = 0

    def place(self, tokens: "array[int]") -> Placement | None:
        """The best slot for a prompt, or None when all are taken. At least one token is left to decode."""
        candidates = self._candidates()
        if not candidates:
            return None
        shared = [self._shared(slot, tokens) for slot in range(len(self._kept))]
        best = max(candidates, key=lambda slot: (shared[slot], -len(self._kept[slot]), -self._last_use[slot]))
        richest = max(range(len(shared)), key=shared.__getitem__)
        if shared[richest] - shared[best] < COPY_WORTH_TOKENS:
            return Placement(best, best, shared[best])
        target = min(candidates, key=lambda slot: (len(self._kept[slot]), self._last_use[slot]))
        return Placement(target, richest, shared[richest])

    def take(self, sequence: Sequence) -> None:
        """Mark the sequence's slot as running."""
        self._running[sequence.slot] = sequence
        self._kept[sequence.slot] = array("i")

    def release(self, sequence: Sequence) -> None:
        """Free the sequence's slot; what is in KV stays for a later prompt."""
        self._running[sequence.slot] = None
        self._kept[sequence.slot] = sequence.tokens[: sequence.position]
        self._clock += 1
        self._last_use[sequence.slot] = self._clock

    def _candidates(self) -> list[int]:
        """Free slots that keep the run whole: in its gaps, else at its ends, else any."""
        count = len(self._running)
        free = [slot for slot in range(count) if self._running[slot] is None]
        taken = [slot for slot in range(count) if self._running[slot] is not None]
        if not taken:
            return free
        gaps = [slot for slot in free if taken[0] < slot < taken[-1]]
        ends = [slot for slot in (taken[0] - 1, taken[-1] + 1) if 0 <= slot < count]
        return gaps or ends

    def _shared(self, slot: int, tokens: "array[int]") -> int:
        running = self._running[slot]
        held = self._kept[slot] if running is None else running.tokens[: running.position]
        return min(common_prefix(held, tokens), len(tokens) - 1)


def common_prefix(left: "Iterable[int] | array[int]", right: "Iterable[int] | array[int]") -> int:
    """How many items two token arrays share from the start."""
    a, b = np.asarray(left, np.int32), np.asarray(right, np.int32)
    size = min(len(a), len(b))
    if size == 0:
        return 0
    differs = a[:size] != b[:size]
    first = int(differs.argmax())
    return first if differs[first] else size
