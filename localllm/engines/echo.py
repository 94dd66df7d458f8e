"""The echo engine: answers with the prompt, byte by byte, through the same batcher as a real model.

It needs no weights and starts at once, so front ends and clients can be tried against it, and it checks what it
is given: a row that does not continue its slot's KV is an EngineError. `echo:50` answers at 50 steps a second.
Its embeddings are counts of bytes, so texts with the same letters are alike.
"""

import time
from collections.abc import Sequence

import numpy as np

from localllm.engines.back_ends import BackEnd, EngineReport
from localllm.engines.base import Batch, Logits, OnProgress, Runner, RunnerInfo, Vectors
from localllm.engines.plan import LoadPlan, check_options
from localllm.errors import EngineError, LoadFailed

MARKER = 256  # ends the prompt; the answer is what stands before it
END = 257
VOCAB_SIZE = 258
MARKER_TEXT = "<|echo|>"
BATCH_TOKENS = 128
CHUNK_TOKENS = 64
DEFAULT_CONTEXT = 4096
DEFAULT_SLOTS = 16
EMBEDDING_WIDTH = 256  # one for each byte


class EchoTokenizer:
    """One token a byte, and two special ones."""

    vocab_size = VOCAB_SIZE
    end_tokens = frozenset({END})
    bos = ""
    eos = ""
    chat_template: str | None = "{{ messages[-1]['content'] }}" + MARKER_TEXT

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """UTF-8 bytes; `add_special` appends the marker."""
        parts = text.split(MARKER_TEXT) if parse_special else [text]
        tokens = list(parts[0].encode("utf-8"))
        for part in parts[1:]:
            tokens += [MARKER, *part.encode("utf-8")]
        return [*tokens, MARKER] if add_special else tokens

    def piece(self, token: int) -> bytes:
        """The byte itself."""
        return bytes([token]) if token < MARKER else b""


class EchoRunner:
    """Its KV is the list of tokens of each slot; its logits favour one token by a wide margin."""

    def __init__(self, plan: LoadPlan) -> None:
        self.tokenizer = EchoTokenizer()
        self._step_seconds = _step_seconds(plan.path)
        slots = plan.max_jobs or DEFAULT_SLOTS
        self._kv: list[list[int]] = [[] for _ in range(slots)]
        self.info = RunnerInfo(
            engine="echo",
            build="1",
            device="cpu",
            context_tokens=plan.context_tokens or DEFAULT_CONTEXT,
            slots=slots,
            batch_tokens=BATCH_TOKENS,
            chunk_tokens=CHUNK_TOKENS,
            threads=1,
            load_seconds=0.0,
            gains_by_guessing=False,
            state_key="echo",
        )

    def decode(self, batch: Batch) -> Logits:
        """Take the rows in; answer each wanted one with the token that the echo continues with."""
        if self._step_seconds:
            time.sleep(self._step_seconds)
        logits = np.zeros((batch.outputs, VOCAB_SIZE), np.float32)
        row = 0
        for i in range(batch.size):
            slot, position = int(batch.slots[i]), int(batch.positions[i])
            held = self._kv[slot]
            if position != len(held) or position >= self.info.context_tokens:
                raise EngineError(f"slot {slot} holds {len(held)} tokens, a row came for position {position}")
            held.append(int(batch.tokens[i]))
            if batch.wants_logits[i]:
                logits[row, _next_token(held)] = 100.0
                row += 1
        return logits

    def copy_prefix(self, source: int, target: int, tokens: int) -> int:
        """Copy the list."""
        self._kv[target] = self._kv[source][:tokens]
        return len(self._kv[target])

    def trim(self, slot: int, tokens: int) -> int:
        """Cut the list."""
        del self._kv[slot][tokens:]
        return len(self._kv[slot])

    def save(self, slot: int) -> bytes | None:
        """The list, as int32."""
        return np.array(self._kv[slot], np.int32).tobytes() or None

    def restore(self, slot: int, state: bytes) -> int:
        """The list again, if it is one."""
        self._kv[slot] = []
        if len(state) % 4 == 0:
            held = np.frombuffer(state, np.int32).tolist()
            if len(held) <= self.info.context_tokens and all(0 <= token < VOCAB_SIZE for token in held):
                self._kv[slot] = held
        return len(self._kv[slot])

    @property
    def embedding_width(self) -> int | None:
        """One number for each value of a byte."""
        return EMBEDDING_WIDTH

    @property
    def embedding_tokens(self) -> int:
        """As many as the context holds."""
        return self.info.context_tokens

    def embed(self, inputs: Sequence[Sequence[int]]) -> Vectors:
        """How often each byte occurs, scaled to length 1; zeros where there is none. The special tokens count not."""
        counts = np.zeros((len(inputs), VOCAB_SIZE), np.float32)
        for row, tokens in enumerate(inputs):
            counts[row] = np.bincount(np.asarray(tokens, np.int64), minlength=VOCAB_SIZE)
        counts = counts[:, :EMBEDDING_WIDTH]
        lengths = np.sqrt(np.square(counts).sum(axis=1, keepdims=True))
        vectors: Vectors = counts / np.maximum(lengths, np.float32(1))
        return vectors

    def close(self) -> None:
        """Nothing is held outside this object."""


class Echo:
    """The echo engine, as the registry knows it."""

    name = "echo"
    formats = frozenset({"echo"})

    def report(self) -> EngineReport:
        """It needs nothing."""
        back_end = BackEnd(name="CPU", is_registered=True, is_usable=True)
        return EngineReport(engine=self.name, is_usable=True, build="1", back_ends=(back_end,))

    def load(self, plan: LoadPlan, _on_progress: OnProgress) -> Runner:
        """A runner. Raises LoadFailed or ConfigError."""
        check_options(plan)
        return EchoRunner(plan)


def _next_token(held: list[int]) -> int:
    if MARKER not in held:
        return END
    marker = held.index(MARKER)
    said = len(held) - marker - 1
    return held[said] if said < marker else END


def _step_seconds(rate: str) -> float:
    if not rate:
        return 0.0
    try:
        steps_per_second = float(rate)
    except ValueError:
        steps_per_second = 0.0
    if not 0 < steps_per_second < float("inf"):
        raise LoadFailed(f"echo:{rate}: the part after the colon is a number of steps per second, like echo:50")
    return 1.0 / steps_per_second
