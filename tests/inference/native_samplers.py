"""llama.cpp's own samplers, to hold ours against."""

import ctypes
from collections.abc import Generator
from contextlib import contextmanager

import llama_cpp as lib
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from localllm.engines.base import Logits
from localllm.engines.llama_cpp.native import Handle


class Outcome(Struct):
    """What a sampler left: token ids [n], their logits [n] and probabilities [n], and the id it chose, if it does."""

    ids: NDArray[np.int64]
    logits: Logits
    probabilities: Logits
    chosen: int | None

    @property
    def kept(self) -> set[int]:
        """Tokens that can still come."""
        return set(self.ids[self.logits > -np.inf].tolist())


@contextmanager
def owned(*samplers: Handle) -> Generator[Handle, None, None]:
    """A chain of samplers, freed at the end."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for sampler in samplers:
        lib.llama_sampler_chain_add(chain, sampler)
    yield chain
    lib.llama_sampler_free(chain)


def apply(chain: Handle, logits: Logits) -> Outcome:
    """Run the chain on the logits of a whole vocabulary."""
    data = (lib.llama_token_data * len(logits))(*[(i, float(logit), 0.0) for i, logit in enumerate(logits)])
    array = lib.llama_token_data_array(data, len(logits), -1, False)
    lib.llama_sampler_apply(chain, ctypes.byref(array))
    left = [array.data[i] for i in range(array.size)]
    return Outcome(
        ids=np.array([entry.id for entry in left]),
        logits=np.array([entry.logit for entry in left], np.float32),
        probabilities=np.array([entry.p for entry in left], np.float32),
        chosen=left[array.selected].id if 0 <= array.selected < len(left) else None,
    )


def logits_after(chain: Handle, logits: Logits) -> Logits:
    """The logits [n] that a chain which removes no token makes of these."""
    outcome = apply(chain, logits)
    changed = np.empty_like(logits)
    changed[outcome.ids] = outcome.logits
    return changed
