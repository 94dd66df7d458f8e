"""What an engine, a runner and a tokenizer are, and the batch that passes between them."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from localllm.engines.job import Delta, Job
from localllm.types import AdapterUse, EngineInfo

Logits = NDArray[np.float32]
Vectors = NDArray[np.float32]
TokenArray = NDArray[np.int32]


class Tokenizer(Protocol):
    """Text to token ids and back. Safe to use from any thread."""

    @property
    def vocab_size(self) -> int:
        """Token ids go from 0 to one less."""
        ...

    @property
    def end_tokens(self) -> frozenset[int]:
        """Any of these ends an answer."""
        ...

    @property
    def bos(self) -> str:
        """Text of the special token that begins a text, for chat templates; "" where there is none."""
        ...

    @property
    def eos(self) -> str:
        """Text of the special token that ends a text, likewise."""
        ...

    @property
    def chat_template(self) -> str | None:
        """Jinja2 source."""
        ...

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`. `add_special` adds what the model wants around a text (BOS);
        `parse_special` reads the names of control tokens in the text as those tokens."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for; b"" for control tokens. May be part of a character."""
        ...


class Batch:
    """The rows of one decode: parallel columns, filled front to back.

    `tokens`, `positions`, `slots`: int32 [capacity]; `wants_logits`: bool [capacity]; `size` rows are valid.
    """

    __slots__ = ("capacity", "outputs", "positions", "size", "slots", "tokens", "wants_logits")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self.slots = np.zeros(capacity, np.int32)
        self.wants_logits = np.zeros(capacity, np.bool_)
        self.size = 0
        self.outputs = 0  # rows that want logits

    def clear(self) -> None:
        """Drop every row."""
        self.size = self.outputs = 0

    def add(self, slot: int, start: int, tokens: Sequence[int] | TokenArray, *, logits: int) -> None:
        """Append `tokens` at positions `start`… of `slot`; ask for the logits after the last `logits` of them."""
        first, last = self.size, self.size + len(tokens)
        self.tokens[first:last] = tokens
        self.positions[first:last] = np.arange(start, start + len(tokens), dtype=np.int32)
        self.slots[first:last] = slot
        self.wants_logits[first:last] = False
        self.wants_logits[last - logits : last] = True
        self.size = last
        self.outputs += logits


class RunnerInfo(Struct, frozen=True, kw_only=True):
    """What a loaded runner is. `context_tokens` is per slot; `batch_tokens` the most rows of one decode."""

    engine: str
    build: str
    device: str
    context_tokens: int
    slots: int
    batch_tokens: int
    chunk_tokens: int  # of a prompt that are worth reading at once
    threads: int
    load_seconds: float
    can_generate: bool = True  # False: it only makes embeddings
    can_rewind: bool = True  # whether `trim` can drop the last tokens of a slot
    exact_tokens: int | None = None  # in a slot, up to which its rows may not depend on how many come at once
    can_copy: bool = True  # whether `copy_prefix` can bring KV from one slot to another
    tile_tokens: int = 1  # that kernels compute together: a known prompt is read again from a multiple of these on
    gains_by_guessing: bool = True  # False: each row takes as long as a step of its own
    state_key: str = ""  # states that `save` makes fit runners with the same key


class Runner(Protocol):
    """Token ids in, logits out. Owned by one thread. Knows nothing of requests."""

    @property
    def info(self) -> RunnerInfo:
        """What was loaded."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own."""
        ...

    def decode(self, batch: Batch) -> Logits:
        """Run the batch: float32 [batch.outputs, vocab_size] in row order, valid until the next decode.

        Rows of one slot must continue at the position where its KV ends. Raises EngineError.
        """
        ...

    def copy_prefix(self, source: int, target: int, tokens: int) -> int:
        """Make `target` hold the first `tokens` of `source`'s KV; returns how many it now holds."""
        ...

    def trim(self, slot: int, tokens: int) -> int:
        """Keep the first `tokens` of a slot's KV; returns how many were kept: 0 where it cannot rewind."""
        ...

    def save(self, slot: int) -> bytes | None:
        """A slot's KV, for `restore`; None where there is none to be had."""
        ...

    def restore(self, slot: int, state: bytes) -> int:
        """Make a slot hold what `save` gave; returns how many tokens it now holds: 0 when the state does not fit."""
        ...

    def close(self) -> None:
        """Free everything; idempotent."""
        ...


@runtime_checkable
class AdaptingRunner(Protocol):
    """A runner that can decode with LoRA adapters (Hu et al. 2021)."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def use_adapters(self, adapters: tuple[AdapterUse, ...]) -> None:
        """Decode with these from now on, for all rows alike; KV made with others does not fit."""
        ...


@runtime_checkable
class EmbeddingRunner(Protocol):
    """A runner whose model makes one vector of a text."""

    @property
    def embedding_width(self) -> int | None:
        """Numbers in a vector; None when this model makes none."""
        ...

    @property
    def embedding_tokens(self) -> int:
        """The most tokens of one input, and of all inputs of one call."""
        ...

    def embed(self, inputs: Sequence[Sequence[int]]) -> Vectors:
        """float32 [len(inputs), embedding_width], pooled as the model's file says and scaled to length 1.

        Leaves the KV of the slots alone. Raises EngineError.
        """
        ...


class Engine(Protocol):
    """Jobs in, deltas out. Owned by one thread, so it needs no locks."""

    @property
    def info(self) -> EngineInfo:
        """What was loaded, and what it honours."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether a `step` has work to do."""
        ...

    def start(self, job: Job) -> None:
        """Take a job. Raises ContextOverflow, UnsupportedField or InvalidRequest, and then has not taken it."""
        ...

    def step(self) -> list[Delta]:
        """Advance every running job by at most one decode. Raises EngineError: the engine is then unusable."""
        ...

    def cancel(self, job_id: int) -> None:
        """Forget a job; idempotent. Its place is free on return."""
        ...

    def close(self) -> None:
        """Free everything; idempotent."""
        ...


OnProgress = Callable[[float], None]  # fraction loaded, 0 to 1
