"""A llama_batch whose columns are numpy arrays, filled by slices instead of field by field."""

import ctypes

import llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Batch
from localllm.engines.llama_cpp.native import Handle


class LlamaBatch:
    """`struct` can be passed to llama_decode after `fill`."""

    def __init__(self, capacity: int) -> None:
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._slots = np.zeros(capacity, np.int32)
        self._logits = np.zeros(capacity, np.int8)
        self._slot_counts = np.ones(capacity, np.int32)
        # seq_id is int32**: one pointer a row into `_slots`, ended by NULL
        self._slot_pointers = np.arange(capacity + 1, dtype=np.uint64) * 4 + self._slots.ctypes.data
        self._slot_pointers[capacity] = 0
        self.struct: Handle = lib.llama_batch()
        self.struct.token = _pointer(self._tokens, ctypes.c_int32)
        self.struct.pos = _pointer(self._positions, ctypes.c_int32)
        self.struct.n_seq_id = _pointer(self._slot_counts, ctypes.c_int32)
        self.struct.seq_id = ctypes.cast(
            self._slot_pointers.ctypes.data, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))
        )
        self.struct.logits = _pointer(self._logits, ctypes.c_int8)
        self.struct.embd = None

    def fill(self, batch: Batch, rows: NDArray[np.bool_] | None = None) -> None:
        """Take over the valid rows of `batch`, or those of them where `rows`, bool [batch.size], is true."""
        size = batch.size
        chosen = slice(None) if rows is None else rows
        count = size if rows is None else int(rows.sum())
        self._tokens[:count] = batch.tokens[:size][chosen]
        self._positions[:count] = batch.positions[:size][chosen]
        self._slots[:count] = batch.slots[:size][chosen]
        self._logits[:count] = batch.wants_logits[:size][chosen]
        self.struct.n_tokens = count


def parts_of(batch: Batch, *, parity_apart: bool) -> list[NDArray[np.bool_]]:
    """The rows to decode at once, bool [batch.size] each: pieces of prompts, then rows that are alone in their slot.

    The library decodes as many rows of each slot together as the shortest piece has, then what is left of the others
    in the same way. `parity_apart`: pieces of even and of odd length are apart, so that what is left is never one row.
    """
    slots = batch.slots[: batch.size]
    counts = np.bincount(slots)[slots]
    pieces = counts > 1
    is_odd = counts % 2 == 1
    parts = [pieces & ~is_odd, pieces & is_odd, ~pieces] if parity_apart else [pieces, ~pieces]
    return [part for part in parts if part.any()]


def _pointer(array: NDArray[np.generic], kind: type[ctypes.c_int32] | type[ctypes.c_int8]) -> Handle:
    return array.ctypes.data_as(ctypes.POINTER(kind))
