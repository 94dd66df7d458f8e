"""Compares a model with the predictions that another one made of the same text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from localllm.engines.base import Tokenizer
from localllm.errors import InvalidRequest
from localllm.models.on_disk import from_path
from localllm.quantize.quality.base_file import BaseReader, reading
from localllm.quantize.quality.distributions import likeliest_of
from localllm.quantize.quality.scored_model import ScoredModel, loaded
from localllm.quantize.quality.statistics import Values, perplexity_of, standard_error
from localllm.quantize.quality.text_chunks import Chunks, chunks_of, tokens_digest
from localllm.quantize.steps import Compare, Compared, Progress


class _Tally:
    """One value for each scored token, filled front to back."""

    def __init__(self, positions: int) -> None:
        self.surprises: Values = np.empty(positions)
        self.divergences: Values = np.empty(positions)
        self.same_top = 0
        self.done = 0

    def add(self, surprises: Values, divergences: Values, same_top: int) -> None:
        """Take over the next few."""
        here = slice(self.done, self.done + len(surprises))
        self.surprises[here] = surprises
        self.divergences[here] = divergences
        self.same_top += same_top
        self.done += len(surprises)

    def compared(self) -> Compared:
        """What they say together. A quantile between two values lies on the line between them."""
        return Compared(
            perplexity=perplexity_of(self.surprises),
            divergence_mean=float(self.divergences.mean()),
            divergence_error=standard_error(self.divergences),
            divergence_p99=float(np.quantile(self.divergences, 0.99)),
            divergence_max=float(self.divergences.max()),
            same_top=self.same_top / self.done,
            positions=self.done,
        )


def compare(step: Compare, report: Callable[[Progress], None]) -> Compared:
    """How far `step.model` is from the model that `step.base` was written by.

    What is held meanwhile does not grow with the number of chunks, but for 16 bytes a scored token. Raises
    IntegrityError for a damaged base, InvalidRequest for a model that cuts the text into other tokens, EngineError,
    and what loading a model raises.
    """
    with reading(Path(step.base)) as base:
        size = base.header.chunk_tokens
        with loaded(from_path(step.model), context_tokens=size, threads=step.threads) as runner:
            chunks = _same_chunks(base, runner.tokenizer, step.model)
            model = ScoredModel(runner, step.model)
            tally = _Tally(base.header.positions)
            report(Progress(0, len(chunks)))
            for number, chunk in enumerate(chunks):
                for tokens, predicted in model.score(chunk):
                    codes = base.read(len(tokens))
                    same = int(np.count_nonzero(predicted.likeliest() == likeliest_of(codes)))
                    tally.add(predicted.surprise(tokens), predicted.divergence_from(codes), same)
                report(Progress(number + 1, len(chunks), f"chunk {number + 1}"))
            return tally.compared()


def _same_chunks(base: BaseReader, tokenizer: Tokenizer, model: str) -> Chunks:
    """The base's text in the model's own tokens, which must be the base's. Raises InvalidRequest."""
    header = base.header
    if tokenizer.vocab_size != header.vocab_size:
        raise InvalidRequest(
            f"{model} has a vocabulary of {tokenizer.vocab_size} tokens, the base one of {header.vocab_size}; "
            "only models with the same vocabulary can be compared",
            param="model",
        )
    chunks = chunks_of(base.text, tokenizer, most=header.chunks, chunk_tokens=header.chunk_tokens)
    if tokens_digest(chunks) != header.tokens_sha256:
        raise InvalidRequest(
            f"{model} cuts the text into other tokens than the base; only models with the same tokenizer can be "
            "compared",
            param="model",
        )
    return chunks
