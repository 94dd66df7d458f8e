"""A loaded model that reads chunks of a text and says what it predicts, in a bounded amount of memory."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from localllm.engines.base import Batch, Logits, Runner, TokenArray
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.errors import EngineError, InvalidRequest
from localllm.models.local import LocalModel
from localllm.quantize.quality.distributions import Distributions, NumbersBroke
from localllm.quantize.quality.text_chunks import first_scored, targets_of

LOGITS_BYTES = 64 * 2**20  # of one decode
BLOCK_VALUES = 2**20  # of logits that are worked on at once: several copies of 4 MiB each
LEAST_PIECE = 3  # rows; what is left of any length is then a piece of two or more
SLOT = 0


@contextmanager
def loaded(model: LocalModel, *, context_tokens: int, threads: int | None) -> Generator[Runner, None, None]:
    """A model with one slot of so much context; closed at the end.

    Raises LoadFailed, EngineUnavailable, and InvalidRequest for a model that makes no text.
    """
    plan = LoadPlan(
        engine=model.engine,
        path=model.path,
        parts=model.parts,
        beside=model.beside,
        sha256=model.sha256,
        max_jobs=1,
        threads=threads,
        context_tokens=context_tokens,
    )
    runner = load_runner(plan, lambda _fraction: None)
    try:
        _check_fits(runner, model.path, context_tokens)
        yield runner
    finally:
        runner.close()


class ScoredModel:
    """A runner with one slot of at least a chunk's context. `name` is for messages."""

    def __init__(self, runner: Runner, name: str) -> None:
        self._runner = runner
        self._name = name
        row_bytes = runner.tokenizer.vocab_size * 4
        self._most_outputs = max(LEAST_PIECE, LOGITS_BYTES // row_bytes)
        self._block_rows = max(1, BLOCK_VALUES // runner.tokenizer.vocab_size)
        self._batch = Batch(runner.info.batch_tokens)

    def score(self, chunk: TokenArray) -> Iterator[tuple[TokenArray, Distributions]]:
        """Read a chunk, int32 [chunk_tokens], in an empty slot; yields, a few rows at a time and in order, the tokens
        that came, int32 [rows], and what was predicted in their place. Raises EngineError.
        """
        targets = targets_of(chunk)
        done = 0
        for logits in self._logits(chunk):
            for start in range(0, len(logits), self._block_rows):
                block = logits[start : start + self._block_rows]
                yield targets[done : done + len(block)], self._distributions(block)
                done += len(block)

    def _logits(self, chunk: TokenArray) -> Iterator[Logits]:
        """The logits after each scored token, in pieces, each valid until the next."""
        first = first_scored(len(chunk))
        self._runner.trim(SLOT, 0)
        for start, stop in pieces(len(chunk) - 1, first, self._batch.capacity, self._most_outputs):
            wanted = max(0, stop - max(start, first))
            self._batch.clear()
            self._batch.add(SLOT, start, chunk[start:stop], logits=wanted)
            logits = self._runner.decode(self._batch)
            if wanted:
                yield logits

    def _distributions(self, logits: Logits) -> Distributions:
        try:
            return Distributions(logits)
        except NumbersBroke as error:
            raise EngineError(
                f"the numbers of {self._name} broke: it predicts infinity or none at all; its file is damaged, or its "
                "type cannot hold the weights: make it anew from the checkpoint, by way of BF16 or F32"
            ) from error


def pieces(rows: int, first: int, most_rows: int, most_outputs: int) -> Iterator[tuple[int, int]]:
    """How to decode `rows` tokens, of which those from `first` on want logits: (start, stop) of each decode.

    At most `most_rows` each, of which at most `most_outputs` want logits. None is one row alone, which kernels round
    otherwise than one among others; for that both limits are at least LEAST_PIECE, and there are at least two rows.
    """
    start = 0
    while start < rows:
        stop = min(rows, start + most_rows, max(start, first) + most_outputs)
        if rows - stop == 1:
            stop -= 1
        yield start, stop
        start = stop


def _check_fits(runner: Runner, path: str, context_tokens: int) -> None:
    """Raises InvalidRequest where a model predicts nothing, or not so far."""
    if not runner.info.can_generate:
        raise InvalidRequest(f"{path} makes embeddings only; only a model that makes text can be measured")
    if runner.info.context_tokens < context_tokens:
        raise InvalidRequest(
            f"{path} has a context of {runner.info.context_tokens} tokens, {context_tokens} are needed; "
            "measure it with shorter texts"
        )
