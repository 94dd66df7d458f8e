"""A bare loop over a program of ExecuTorch, with nothing but its own Python binding: what our engine is held against.

Reads orders from stdin, a JSON list of prompt tokens and a number of answer tokens a line, and prints the seconds of
each: {"prefill": …, "decode": …}. Greedy, from an empty cache. Arguments: the program, and the threads.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from executorch.extension.pybindings import portable_lib
from executorch.kernels import quantized  # noqa: F401  registers embeddings of 4 and 8 bits
from executorch.runtime import Runtime, Verification

with contextlib.redirect_stdout(sys.stderr):
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers attention and its cache


class BareLoop:
    """One program, one stream."""

    def __init__(self, path: Path, threads: int) -> None:
        portable_lib._unsafe_reset_threadpool(threads)
        self._program = Runtime.get().load_program(path, verification=Verification.Minimal)
        self._forward = self._program.load_method("forward")
        self._piece = int(self._program.load_method("get_max_seq_len").execute([])[0]) - 1

    def measure(self, prompt: Sequence[int], answer_tokens: int) -> dict[str, float]:
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


def main() -> None:
    """Serve orders until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what native code prints is no answer
    loop = BareLoop(Path(sys.argv[1]), int(sys.argv[2]))
    for line in sys.stdin:
        prompt, answer_tokens = json.loads(line)
        print(json.dumps(loop.measure(prompt, answer_tokens)), file=answers, flush=True)


if __name__ == "__main__":
    main()
