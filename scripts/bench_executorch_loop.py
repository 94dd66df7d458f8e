"""A bare loop over a program of ExecuTorch, with nothing but its own Python binding: what our engine is held against.

Reads orders from stdin, a JSON list of prompt tokens and a number of answer tokens a line, and prints the seconds of
each contender: {"bare": {"prefill": …, "decode": …}}. Greedy, from an empty cache. Arguments: the program, the threads,
and, if our batcher shall answer in the same process ("ours"), its LoadPlan as JSON.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime, Verification

from localllm.engines.job import Job
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.inference.batcher import Batcher
from localllm.types import Sampling

Seconds = dict[str, float]
Contender = Callable[[Sequence[int], int], Seconds]


class BareLoop:
    """One program, one stream."""

    def __init__(self, path: Path) -> None:
        from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401, PLC0415  registers attention
        from executorch.kernels import quantized  # noqa: F401, PLC0415  registers embeddings of 4 and 8 bits

        self._program = Runtime.get().load_program(path, verification=Verification.Minimal)
        self._forward = self._program.load_method("forward")
        self._piece = int(self._program.load_method("get_max_seq_len").execute([])[0]) - 1

    def measure(self, prompt: Sequence[int], answer_tokens: int) -> Seconds:
        """Seconds to the first token, and from there to the last."""
        began = time.perf_counter()
        logits: Any = None
        for start in range(0, len(prompt), self._piece):
            logits = self._step(prompt[start : start + self._piece], start)
        token = int(logits.argmax())
        read = time.perf_counter()
        for position in range(len(prompt), len(prompt) + answer_tokens - 1):
            token = int(self._step([token], position).argmax())
        return {"prefill": read - began, "decode": time.perf_counter() - read}

    def _step(self, tokens: Sequence[int], position: int) -> Any:
        inputs = (torch.tensor([tokens], dtype=torch.long), torch.tensor([position], dtype=torch.long))
        return self._forward.execute(inputs)[0]


class Ours:
    """The batcher over our runner, as a worker has it."""

    def __init__(self, plan: LoadPlan) -> None:
        self._batcher = Batcher(load_runner(plan, lambda _: None))
        self._jobs = 0

    def measure(self, prompt: Sequence[int], answer_tokens: int) -> Seconds:
        """The same; the text is made, too."""
        self._jobs += 1
        sampling = Sampling(temperature=0.0, ignore_eos=True, max_tokens=answer_tokens)
        self._batcher.start(Job(id=self._jobs, tokens=tuple(prompt), sampling=sampling))
        while self._batcher.is_busy:
            for delta in self._batcher.step():
                if delta.usage is not None:
                    return {"prefill": delta.usage.prefill_seconds, "decode": delta.usage.decode_seconds}
        raise SystemExit("bench: an answer ended without saying so")


def contenders(path: Path, threads: int, plan: str | None) -> dict[str, Contender]:
    """By name. The pool of threads is the process's, and may be set once, before anything is loaded."""
    found: dict[str, Contender] = {}
    if plan is not None:
        found["ours"] = Ours(msgspec.json.decode(plan, type=LoadPlan)).measure
    else:
        portable_lib._unsafe_reset_threadpool(threads)
    return {"bare": BareLoop(path).measure, **found}


def main() -> None:
    """Serve orders until stdin ends. Who comes first in a round is drawn."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what native code prints is no answer
    here = contenders(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
    source = random.Random(0)  # noqa: S311
    for line in sys.stdin:
        prompt, answer_tokens = json.loads(line)
        order = source.sample(sorted(here), len(here))
        print(json.dumps({name: here[name](prompt, answer_tokens) for name in order}), file=answers, flush=True)


if __name__ == "__main__":
    main()
