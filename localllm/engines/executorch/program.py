"""A program in memory, with a KV cache of its own."""

from pathlib import Path

import numpy as np

from localllm.engines.base import Logits, TokenArray
from localllm.engines.executorch.delegates import is_usable
from localllm.engines.executorch.facts import FORWARD, ProgramFacts
from localllm.engines.executorch.native import NATIVE_ERRORS, NativeProgram, Runtime, Tensor
from localllm.errors import EngineError, LoadFailed
from localllm.models.pte.header import ProgramFacts as ProgramFile

_TOLERANCE = 1e-3  # of logits that should be the same to the bit


class Program:
    """One loaded copy of a program. Another copy packs the weights once more: nothing of one is in the other.

    What native code would answer with an abort or with nonsense is refused before it: no tokens, tokens that the model
    does not know, positions before the beginning or behind the end of its context.
    """

    def __init__(self, runtime: Runtime, path: Path, facts: ProgramFacts) -> None:
        """Raises LoadFailed."""
        self._runtime = runtime
        self._facts = facts
        self._native = open_native(runtime, path)
        try:
            self._forward = self._native.load_method(FORWARD)
        except NATIVE_ERRORS as error:
            raise LoadFailed(f"ExecuTorch cannot load {path}: {error}") from error
        self._token = np.zeros((1, 1), facts.token_type)
        self._position = np.zeros(1, facts.position_type)
        self._lone = (runtime.tensor(self._token), runtime.tensor(self._position))
        self.held = 0  # tokens in its KV cache

    def trim(self, tokens: int) -> int:
        """Keep the first `tokens` in the KV cache; returns how many were kept. What is behind them is written over."""
        self.held = max(0, min(self.held, tokens))
        return self.held

    def step(self, tokens: TokenArray, position: int) -> Logits:
        """Put `tokens`, int32 [n], behind the `position` tokens that it holds: the logits after the last of them,
        float32 [vocab_size], a view that is valid until the next step. Raises EngineError."""
        self._check(tokens, position)
        try:
            outputs = self._forward(self._inputs(tokens, position), clone_outputs=False)
            logits = outputs[0].float().numpy().reshape(-1)[-self._facts.vocab_size :]
        except NATIVE_ERRORS as error:
            raise EngineError(f"ExecuTorch failed at token {position} of a text: {error}") from error
        self.held = position + len(tokens)
        return logits

    def check(self) -> None:
        """Try what a language model must do: take single tokens up to the last of its context, and forget what came
        after a position. Raises LoadFailed."""
        last = self._facts.context_tokens - 1
        token = np.ones(1, np.int32)
        try:
            first = self.step(token, 0).copy()
            self.held = last
            self.step(token, last)
            self.trim(0)
            again = self.step(token, 0)
        except EngineError as error:
            raise LoadFailed(
                f"this program does not take the {last + 1} tokens of its context one by one: {error.message}"
            ) from error
        if not np.allclose(first, again, atol=_TOLERANCE, equal_nan=True):
            raise LoadFailed(
                "this program keeps more than a KV cache and cannot begin a text anew; only attention can run"
            )
        self.trim(0)

    def _check(self, tokens: TokenArray, position: int) -> None:
        count, facts = len(tokens), self._facts
        if position != self.held:
            raise EngineError(f"the context holds {self.held} tokens, a row came for position {position}")
        if not 0 < count <= facts.most_tokens:
            raise EngineError(f"{count} tokens came at once; from 1 to {facts.most_tokens} can be taken")
        if position + count > facts.context_tokens:
            raise EngineError(f"{position} + {count} tokens are more than the context of {facts.context_tokens}")
        if tokens.min() < 0 or tokens.max() >= facts.vocab_size:
            raise EngineError(f"token ids go from 0 to {facts.vocab_size - 1}")

    def _inputs(self, tokens: TokenArray, position: int) -> tuple[Tensor, Tensor]:
        count = len(tokens)
        if count == 1:
            self._token[0, 0], self._position[0] = tokens[0], position
            return self._lone
        last = position + (count if self._facts.takes_all_positions else 1)
        return (
            self._runtime.tensor(tokens.astype(self._facts.token_type).reshape(1, count)),
            self._runtime.tensor(np.arange(position, last, dtype=self._facts.position_type)),
        )


def open_native(runtime: Runtime, path: Path) -> NativeProgram:
    """Map and verify a file that `read_program` has read. Raises LoadFailed."""
    try:
        return runtime.load_program(str(path))
    except NATIVE_ERRORS as error:
        raise LoadFailed(f"ExecuTorch cannot load {path}: {error}; get the file again, or export it again") from error


def require(file: ProgramFile, runtime: Runtime, path: Path) -> None:
    """Raises LoadFailed with the names of what the program needs and this runtime has not."""
    for kind, missing in (
        ("back end", [name for name in file.backends if not is_usable(name, runtime)]),
        ("kernel", [name for name in file.operators if name not in runtime.operators]),
    ):
        if missing:
            names = ", ".join(sorted(missing)[:5])[:300]
            raise LoadFailed(
                f"{path} needs the {kind} {names}, which {runtime.build} has not on this machine; "
                "see what there is: localllm devices"
            )
