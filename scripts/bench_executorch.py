"""Our engine against a bare loop over the same program of ExecuTorch, and against other programs, in one run.

    .venv/bin/python scripts/bench_executorch.py MODEL [--against OTHER.pte …] [--rounds 7] [--json FILE]

MODEL is a stored program or the path of a .pte. Measured are our batcher beside the bare loop in one process; the whole
way through a worker process; and other programs, each in a bare loop of its own. All take turns, round after round, on
the same random prompt. A ratio is that to the bare loop within a round, and the median of the rounds is told.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path

import msgspec
from msgspec import Struct

from localllm.cli.compose import bring, make_service
from localllm.config import load_settings
from localllm.devices.cpu import processor_name, usable_cores
from localllm.engines.plan import LoadPlan
from localllm.errors import EngineError, LocalLLMError
from localllm.models.local import LocalModel
from localllm.runtime.local import LocalService
from localllm.types import Finished, SamplingChoice, TextRequest

LOOP = Path(__file__).with_name("bench_executorch_loop.py")
BARE, OURS, WORKER = "bare loop", "our batcher, in the same process", "localllm, through its worker"


class Rates(Struct, frozen=True):
    """Tokens a second of one stream."""

    prefill: float
    decode: float


class Report(Struct, frozen=True, kw_only=True):
    """Medians, and the medians of each one's ratio to the bare loop within a round."""

    processor: str
    threads: int
    prompt_tokens: int
    answer_tokens: int
    rounds: int
    rates: dict[str, Rates]
    ratios: dict[str, Rates]


class Loop:
    """A bare loop in a process of its own, and our batcher beside it if there is a plan for it."""

    def __init__(self, path: str, threads: int, stack: ExitStack, plan: LoadPlan | None = None) -> None:
        command = [sys.executable, str(LOOP), path, str(threads)]
        if plan is not None:
            command.append(msgspec.json.encode(plan).decode())
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = stack.enter_context(subprocess.Popen(command, text=True, **pipes))

    def measure(self, prompt: Sequence[int], answer_tokens: int) -> dict[str, Rates]:
        """One round, by name of the contender."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise EngineError("the loop has no pipes")
        print(json.dumps([list(prompt), answer_tokens]), file=stdin, flush=True)
        line = stdout.readline()
        if not line:
            raise EngineError("the bare loop ended; run scripts/bench_executorch_loop.py by itself to see why")
        return {
            name: Rates(len(prompt) / seconds["prefill"], (answer_tokens - 1) / seconds["decode"])
            for name, seconds in json.loads(line).items()
        }


async def ours(service: LocalService, prompt: Sequence[int], answer_tokens: int) -> Rates:
    """One round through the worker."""
    sampling = SamplingChoice(temperature=0.0, repeat_penalty=1.0, max_tokens=answer_tokens, ignore_eos=True)
    async with aclosing(service.complete(TextRequest(prompt=tuple(prompt), sampling=sampling))) as events:
        async for event in events:
            if isinstance(event, Finished):
                return Rates(len(prompt) / event.usage.prefill_seconds, event.usage.tokens_per_second)
    raise EngineError("an answer ended without saying so")


async def rounds(model: LocalModel, options: argparse.Namespace, threads: int) -> Report:
    """All rounds; the first of each contender does not count."""
    service = make_service([model], load_settings(threads=threads), jobs=1)
    plan = LoadPlan(engine=model.engine, path=model.path, beside=model.beside, max_jobs=1, threads=threads)
    source = random.Random(0)  # noqa: S311  prompts, not secrets
    found: list[dict[str, Rates]] = []
    with ExitStack() as stack:
        both = Loop(model.path, threads, stack, plan)
        others = {path: Loop(path, threads, stack) for path in options.against}
        try:
            for _ in range(options.rounds + 1):
                prompt = [source.randrange(1000, 20000) for _ in range(options.prompt)]
                beside = both.measure(prompt, options.answer)
                here = {BARE: beside["bare"], OURS: beside["ours"]}
                here[WORKER] = await ours(service, prompt, options.answer)
                here |= {path: other.measure(prompt, options.answer)["bare"] for path, other in others.items()}
                found.append(here)
        finally:
            await service.close()
    return _report(found[1:], options, threads)


def _report(found: Sequence[dict[str, Rates]], options: argparse.Namespace, threads: int) -> Report:
    def median(name: str, field: str) -> float:
        return statistics.median([getattr(here[name], field) for here in found])

    def ratio(name: str, field: str) -> float:
        return statistics.median([getattr(here[name], field) / getattr(here[BARE], field) for here in found])

    names = list(found[0])
    return Report(
        processor=processor_name(),
        threads=threads,
        prompt_tokens=options.prompt,
        answer_tokens=options.answer,
        rounds=len(found),
        rates={name: Rates(median(name, "prefill"), median(name, "decode")) for name in names},
        ratios={name: Rates(ratio(name, "prefill"), ratio(name, "decode")) for name in names[1:]},
    )


def _print(report: Report) -> None:
    print(f"{report.processor}, {report.threads} threads, {report.prompt_tokens} + {report.answer_tokens} tokens,")
    print(f"medians of {report.rounds} rounds, tokens a second (to the bare loop):")
    for name, rates in report.rates.items():
        ratio = report.ratios.get(name)
        words = f"   {ratio.prefill:.2f}× reading, {ratio.decode:.2f}× writing" if ratio else ""
        print(f"  {name:34} reading {rates.prefill:8.1f}  writing {rates.decode:7.1f}{words}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--against", nargs="*", default=[], metavar="PTE", help="other programs, each in a bare loop")
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    threads = options.threads or usable_cores()
    try:
        model = bring(options.model, load_settings())
        report = asyncio.run(rounds(model, options, threads))
    except LocalLLMError as error:
        raise SystemExit(f"bench: {error.message}") from error
    _print(report)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))


if __name__ == "__main__":
    main()
