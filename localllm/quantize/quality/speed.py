"""Measures how fast a model reads a prompt and answers, one stream."""

import statistics
import time
from collections.abc import Callable

import numpy as np

from localllm.devices.cpu import peak_memory_bytes
from localllm.engines.base import Batch, Runner, TokenArray, Tokenizer
from localllm.errors import InvalidRequest
from localllm.models.on_disk import from_path
from localllm.quantize.quality.scored_model import SLOT, loaded
from localllm.quantize.steps import MeasureSpeed, Progress, Speed

LEAST = {"prompt_tokens": 2, "answer_tokens": 1, "repeats": 1}
WARM_UP_TOKENS = 2  # of an answer: the first decode of a kind makes buffers
_SEED = 0
_DRAWS = 8  # for each token that is needed; few are control tokens


def measure_speed(step: MeasureSpeed, report: Callable[[Progress], None]) -> Speed:
    """Medians of `step.repeats`, after a prompt and a few tokens that do not count.

    Raises InvalidRequest for too few tokens or repeats, EngineError, and what loading a model raises.
    """
    for name, least in LEAST.items():
        if getattr(step, name) < least:
            raise InvalidRequest(f"{name} must be at least {least}", param=name)
    context = step.prompt_tokens + step.answer_tokens
    with loaded(from_path(step.model), context_tokens=context, threads=step.threads) as runner:
        prefill, decode = rates(runner, step, report, time.perf_counter)
        return Speed(
            prefill_rate=prefill,
            decode_rate=decode,
            load_seconds=runner.info.load_seconds,
            peak_memory_bytes=peak_memory_bytes(),
        )


def rates(
    runner: Runner, step: MeasureSpeed, report: Callable[[Progress], None], clock: Callable[[], float]
) -> tuple[float, float]:
    """Tokens a second of reading and of answering. The answer comes after the prompt, at the depth where answers do.

    Its tokens are given, not chosen: what choosing takes is not the model's.
    """
    tokens = normal_tokens(runner.tokenizer, step.prompt_tokens + step.answer_tokens)
    prompt, answer = tokens[: step.prompt_tokens], tokens[step.prompt_tokens :]
    _read(runner, prompt)
    _answer(runner, len(prompt), answer[:WARM_UP_TOKENS])
    prefill, decode = [], []
    report(Progress(0, step.repeats))
    for done in range(step.repeats):
        started = clock()
        _read(runner, prompt)
        read = clock()
        _answer(runner, len(prompt), answer)
        prefill.append(len(prompt) / (read - started))
        decode.append(len(answer) / (clock() - read))
        report(Progress(done + 1, step.repeats, f"repeat {done + 1}"))
    return statistics.median(prefill), statistics.median(decode)


def normal_tokens(tokenizer: Tokenizer, count: int) -> TokenArray:
    """The same ids at every call, int32 [count]: random ones that stand for text, as far as there are such."""
    drawn = np.random.default_rng(_SEED).integers(0, tokenizer.vocab_size, _DRAWS * count, np.int32)
    normal = [token for token in drawn.tolist() if token not in tokenizer.end_tokens and tokenizer.piece(token)]
    return np.resize(np.array(normal or drawn, np.int32), count)


def _read(runner: Runner, prompt: TokenArray) -> None:
    """Into the empty slot, as much at once as the runner takes, with the logits after the last token.

    The pieces are of equal length, for none should be a token alone.
    """
    runner.trim(SLOT, 0)
    batch = Batch(runner.info.batch_tokens)
    pieces = np.array_split(prompt, -(-len(prompt) // runner.info.batch_tokens))
    start = 0
    for number, piece in enumerate(pieces):
        batch.clear()
        batch.add(SLOT, start, piece, logits=int(number == len(pieces) - 1))
        runner.decode(batch)
        start += len(piece)


def _answer(runner: Runner, start: int, tokens: TokenArray) -> None:
    """One token a decode, as answers come."""
    batch = Batch(1)
    for offset in range(len(tokens)):
        batch.clear()
        batch.add(SLOT, start + offset, tokens[offset : offset + 1], logits=1)
        runner.decode(batch)
