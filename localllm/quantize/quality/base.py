"""Scores a text by the model that others are to be compared with, and keeps its predictions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from localllm.errors import InvalidRequest
from localllm.models.on_disk import from_path
from localllm.quantize.quality.base_file import BaseWriter, header_of, writing
from localllm.quantize.quality.scored_model import ScoredModel, loaded
from localllm.quantize.quality.statistics import Values, perplexity_of
from localllm.quantize.quality.text_chunks import (
    Chunks,
    check_size,
    chunks_of,
    most_text_bytes,
    read_text,
    tokens_digest,
)
from localllm.quantize.steps import BaseScored, Progress, ScoreBase
from localllm.units import size_words


def score_base(step: ScoreBase, report: Callable[[Progress], None]) -> BaseScored:
    """Write `step.target`, two bytes for each scored token and each token of the vocabulary; all or nothing.

    What is held meanwhile does not grow with the number of chunks, but for 8 bytes a scored token. Raises
    InvalidRequest for a text that is shorter than a chunk, NoRoom, EngineError, and what loading a model raises.
    """
    check_size(step.chunks, step.chunk_tokens)
    text = read_text(Path(step.text), most_text_bytes(step.chunks, step.chunk_tokens))
    model = from_path(step.model)
    with loaded(model, context_tokens=step.chunk_tokens, threads=step.threads) as runner:
        chunks = chunks_of(text, runner.tokenizer, most=step.chunks, chunk_tokens=step.chunk_tokens)
        if not len(chunks):
            raise InvalidRequest(
                f"{step.text} has fewer than {step.chunk_tokens} tokens, which is one chunk; give a longer text",
                param="text",
            )
        header = header_of(
            text.encode(),
            model=model.identity,
            vocab_size=runner.tokenizer.vocab_size,
            chunks=len(chunks),
            chunk_tokens=step.chunk_tokens,
            tokens=tokens_digest(chunks),
        )
        with writing(Path(step.target), header, text.encode()) as base:
            report(Progress(0, len(chunks), f"{size_words(header.body_bytes)} of predictions"))
            surprises = _score(ScoredModel(runner, step.model), chunks, base, report)
    return BaseScored(perplexity=perplexity_of(surprises), chunks=len(chunks), positions=len(surprises))


def _score(model: ScoredModel, chunks: Chunks, base: BaseWriter, report: Callable[[Progress], None]) -> Values:
    """The surprise at each scored token; the predictions go to `base`."""
    found = []
    for number, chunk in enumerate(chunks):
        for tokens, predicted in model.score(chunk):
            found.append(predicted.surprise(tokens))
            base.write(predicted.packed())
        report(Progress(number + 1, len(chunks), f"chunk {number + 1}"))
    return np.concatenate(found)
