"""The step from a model and a text to an importance matrix, as llama.cpp's tools/imatrix takes it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from localllm.engines.llama_cpp.activations import ActivationCollector
from localllm.errors import InvalidRequest
from localllm.quantize.calibration.importance_writer import write_importance
from localllm.quantize.calibration.texts import read_text
from localllm.quantize.steps import Calibrate, Calibrated, Progress

_LEAST_CHUNKS = 2  # upstream's rule: less says little of a model


def calibrate(step: Calibrate, report: Callable[[Progress], None]) -> Calibrated:
    """Have the model read chunks of the text, and write what entered its weights.

    Raises InvalidRequest for a text that is too short, and for a model that cannot be calibrated; LoadFailed,
    ModelNotFound, EngineUnavailable, EngineError, NoRoom, ModelError.
    """
    text = read_text(Path(step.text), "calibrate")
    with ActivationCollector(step.model, chunk_tokens=step.chunk_tokens, threads=step.threads) as collector:
        tokens = collector.tokenizer.encode(text, add_special=False, parse_special=False)
        chunks = cut_chunks(tokens, most=step.chunks, chunk_tokens=step.chunk_tokens, first=collector.first_token)
        report(Progress(done=0, total=len(chunks)))
        for done, chunk in enumerate(chunks, 1):
            collector.read(chunk)
            report(Progress(done=done, total=len(chunks), what=f"chunk {done} of {len(chunks)}"))
        sums = collector.sums
    size_bytes = write_importance(
        Path(step.target), sums, datasets=(step.dataset,), chunks=len(chunks), chunk_tokens=step.chunk_tokens
    )
    tokens_read = len(chunks) * step.chunk_tokens
    return Calibrated(tensors=len(sums), chunks=len(chunks), tokens=tokens_read, size_bytes=size_bytes)


def cut_chunks(tokens: Sequence[int], *, most: int, chunk_tokens: int, first: int | None) -> list[list[int]]:
    """Up to `most` chunks, spread evenly over a longer text; `first` takes the place of the first token of each.

    Raises InvalidRequest for a text that is too short.
    """
    there, least = len(tokens) // chunk_tokens, min(_LEAST_CHUNKS, most)
    if least < 1:
        raise InvalidRequest("calibrating takes one chunk of the text at least", param="calibrate")
    if there < least:
        raise InvalidRequest(
            f"the text to calibrate with has {len(tokens)} tokens, {least * chunk_tokens} are needed at least; "
            "name a longer one, or --calibrate default",
            param="calibrate",
        )
    count = min(most, there)
    starts = [chunk * there // count * chunk_tokens for chunk in range(count)]
    head = [] if first is None else [first]
    return [[*head, *tokens[start + len(head) : start + chunk_tokens]] for start in starts]
