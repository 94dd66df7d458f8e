"""Our engine over OpenVINO against a bare loop over the same pipeline of OpenVINO's, in one run.

    .venv/bin/python scripts/bench_openvino.py MODEL [--streams 16] [--rounds 5] [--json FILE]

MODEL is a stored model or the path of a GGUF. Measured are a bare loop (add_request, step, read, and nothing else) and
the whole way through a worker process. Both have a model of their own and the same settings, and take turns, round
after round, on random prompts of the same lengths. A ratio is that to the bare loop within a round, and the median of
the rounds is told.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec
import numpy as np
import openvino as ov
import openvino_genai as genai
from msgspec import Struct

from localllm.cli.compose import bring
from localllm.config import load_settings
from localllm.devices.cpu import processor_name, usable_cores
from localllm.engines.openvino.loading import Target, load
from localllm.engines.openvino.native import build
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineError, LocalLLMError
from localllm.types import Sampling, TextRequest
from localllm.worker.handle import WorkerHandle

BARE, WORKER = "bare loop", "localllm, through its worker"
Prompt = tuple[int, ...]


class Rates(Struct, frozen=True):
    """Tokens a second."""

    reading: float  # one prompt
    writing: float  # one answer
    together: float  # all answers at once, from the first request to the last token


class Report(Struct, frozen=True, kw_only=True):
    """Medians, and the medians of the ratio to the bare loop within a round."""

    processor: str
    build: str
    threads: int
    streams: int
    prompt_tokens: int
    answer_tokens: int
    rounds: int
    rates: dict[str, Rates]
    ratio: Rates


class BareLoop:
    """OpenVINO's pipeline and nothing around it."""

    def __init__(self, plan: LoadPlan, threads: int) -> None:
        self._native = load(plan, Target(device="CPU", threads=threads), lambda _: None).native

    def measure(self, long: Prompt, shorts: Sequence[Prompt], answer_tokens: int) -> Rates:
        """One round."""
        first = self._seconds([long], 1)
        alone = self._seconds([shorts[0]], answer_tokens)
        together = self._seconds(shorts, answer_tokens)
        return _rates(long, shorts, answer_tokens, (first, alone, together))

    def _seconds(self, prompts: Sequence[Prompt], answer_tokens: int) -> float:
        began = time.perf_counter()
        handles = []
        for number, prompt in enumerate(prompts):
            config = genai.GenerationConfig()
            config.max_new_tokens, config.do_sample, config.ignore_eos = answer_tokens, False, True
            config.set_eos_token_id(0)
            handles.append(self._native.add_request(number, ov.Tensor(np.array([prompt], np.int64)), config))
        while self._native.has_non_finished_requests():
            self._native.step()
            for handle in handles:
                if handle.can_read():
                    handle.read()
        return time.perf_counter() - began


class Worker:
    """The same through a worker process."""

    def __init__(self, handle: WorkerHandle) -> None:
        self._handle = handle

    async def measure(self, long: Prompt, shorts: Sequence[Prompt], answer_tokens: int) -> Rates:
        """One round."""
        first = await self._seconds([long], 1)
        alone = await self._seconds([shorts[0]], answer_tokens)
        together = await self._seconds(shorts, answer_tokens)
        return _rates(long, shorts, answer_tokens, (first, alone, together))

    async def _seconds(self, prompts: Sequence[Prompt], answer_tokens: int) -> float:
        began = time.perf_counter()
        counts = await asyncio.gather(*(self._tokens(prompt, answer_tokens) for prompt in prompts))
        if set(counts) != {answer_tokens}:
            raise EngineError(f"answers have {sorted(set(counts))} tokens, {answer_tokens} were asked for")
        return time.perf_counter() - began

    async def _tokens(self, prompt: Prompt, answer_tokens: int) -> int:
        sampling = Sampling(temperature=0.0, max_tokens=answer_tokens, ignore_eos=True)
        async with aclosing(self._handle.run(TextRequest(prompt=prompt), sampling)) as groups:
            async for deltas in groups:
                if deltas[-1].usage is not None:
                    return deltas[-1].usage.completion_tokens
        raise EngineError("an answer ended without saying so")


def _rates(long: Prompt, shorts: Sequence[Prompt], answer_tokens: int, seconds: tuple[float, float, float]) -> Rates:
    return Rates(
        reading=len(long) / seconds[0],
        writing=answer_tokens / seconds[1],
        together=len(shorts) * answer_tokens / seconds[2],
    )


async def rounds(path: str, options: argparse.Namespace, threads: int) -> Report:
    """All rounds; the first of each contender does not count. Who comes first in a round is drawn."""
    plan = LoadPlan(engine="openvino", path=path, threads=threads, max_jobs=options.streams, context_tokens=2048)
    bare = BareLoop(plan, threads)
    handle = await WorkerHandle.start(plan, lambda _: None)
    source = random.Random(0)  # noqa: S311  prompts, not secrets
    found: list[dict[str, Rates]] = []
    try:
        for _ in range(options.rounds + 1):
            here: dict[str, Rates] = {}
            for name in source.sample([BARE, WORKER], 2):
                long, shorts = _prompts(source, options)  # new ones: what was read would not be read again
                args = (long, shorts, options.answer)
                here[name] = bare.measure(*args) if name == BARE else await Worker(handle).measure(*args)
            found.append(here)
    finally:
        await handle.close()
    return _report(found[1:], options, threads)


def _prompts(source: random.Random, options: argparse.Namespace) -> tuple[Prompt, list[Prompt]]:
    def prompt(tokens: int) -> Prompt:
        return tuple(source.randrange(1000, 20000) for _ in range(tokens))

    return prompt(options.prompt), [prompt(16) for _ in range(options.streams)]


def _report(found: Sequence[dict[str, Rates]], options: argparse.Namespace, threads: int) -> Report:
    fields = Rates.__struct_fields__

    def median(name: str) -> Rates:
        return Rates(*(statistics.median(getattr(here[name], field) for here in found) for field in fields))

    ratios = (
        statistics.median(getattr(here[WORKER], field) / getattr(here[BARE], field) for here in found)
        for field in fields
    )
    return Report(
        processor=processor_name(),
        build=build(),
        threads=threads,
        streams=options.streams,
        prompt_tokens=options.prompt,
        answer_tokens=options.answer,
        rounds=len(found),
        rates={name: median(name) for name in (BARE, WORKER)},
        ratio=Rates(*ratios),
    )


def _print(report: Report) -> None:
    print(f"{report.processor}, {report.build}, {report.threads} threads, {report.prompt_tokens} tokens read,")
    print(f"{report.streams} answers of {report.answer_tokens}; medians of {report.rounds} rounds, tokens a second:")
    for name, rates in report.rates.items():
        print(f"  {name:30} reading {rates.reading:7.1f}  one {rates.writing:6.1f}  together {rates.together:7.1f}")
    ratio = report.ratio
    print(f"  to the bare loop: reading {ratio.reading:.2f}×, one {ratio.writing:.2f}×, together {ratio.together:.2f}×")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        path = options.model if Path(options.model).exists() else bring(options.model, load_settings()).path
        report = asyncio.run(rounds(path, options, options.threads or usable_cores()))
    except LocalLLMError as error:
        raise SystemExit(f"bench: {error.message}") from error
    _print(report)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))


if __name__ == "__main__":
    main()
