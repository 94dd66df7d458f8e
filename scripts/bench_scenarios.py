"""Playing the scenarios of `localllm/bench/scenarios.py`: starting what each needs, and collecting the results."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

from bench_loop import FLAGS, batched_bench_rate, our_command
from bench_servers import ServerPlan, ours, running, running_all
from msgspec import Struct

from localllm.bench.client import Target
from localllm.bench.scenario import Measured, Reading, Scenario, play_rounds
from localllm.bench.scenarios import (
    LOOKUP,
    LOOKUP_ALWAYS,
    LOOP_LEVELS,
    LOOP_WORDS,
    RESTART,
    SCENARIOS,
    SERVER_SCENARIOS,
    loop_name,
)
from localllm.bench.verdict import measured_line
from localllm.config import worker_environment
from localllm.devices.cpu import usable_cores
from localllm.errors import LocalLLMError
from localllm.models.local import LocalModel

WORDS = {scenario.name: scenario.words for scenario in SCENARIOS} | {"loop": LOOP_WORDS}
CACHE = ("--cache-bytes", str(4 * 2**30))
LOOP_TIMES = 3  # as many rounds of it: they are short, and so noisy
IDLE_SECONDS = 6.0  # in which our server finds out for how many rows guesses change nothing


class Run(Struct, frozen=True, kw_only=True):
    """What to play, on what."""

    model: LocalModel
    names: list[str]  # of scenarios
    servers: list[str]
    rounds: int
    is_quick: bool
    threads: int | None
    llama_server: str | None
    batched_bench: str | None
    seed: int

    def plan(self, scenario: Scenario) -> ServerPlan:
        """How its servers are started."""
        return ServerPlan(
            model=self.model,
            context=scenario.context,
            slots=scenario.slots,
            threads=self.threads,
            llama_server=self.llama_server,
        )

    def play(self, scenario: Scenario, targets: list[Target]) -> list[Measured]:
        """All rounds."""
        return asyncio.run(play_rounds(scenario, targets, self.rounds, told, seed=self.seed, quick=self.is_quick))


def told(measured: Measured) -> None:
    """Say each result at once."""
    print(measured_line(measured), file=sys.stderr)


def play_all(run: Run, failed: Callable[[str], None]) -> Iterator[list[Measured]]:
    """The results of each part as it ends; a part that cannot run is told by `failed`, and the others go on."""
    parts: list[tuple[str, Callable[[], list[Measured]]]] = []
    chosen = [scenario for scenario in SERVER_SCENARIOS if scenario.name in run.names]
    for _, group in groupby(chosen, key=lambda scenario: (scenario.slots, scenario.context)):
        scenarios = list(group)
        parts.append((", ".join(s.name for s in scenarios), partial(_servers, run, scenarios)))
    others = {
        RESTART.name: partial(_restart, run),
        LOOKUP.name: partial(_lookup, run, LOOKUP, "exact"),
        LOOKUP_ALWAYS.name: partial(_lookup, run, LOOKUP_ALWAYS, "always"),
        "loop": partial(_loop, run),
    }
    parts += [(name, play) for name, play in others.items() if name in run.names]
    for name, play_part in parts:
        try:
            yield play_part()
        except (LocalLLMError, SystemExit, OSError) as error:
            failed(f"{name}: {error}")


def _servers(run: Run, scenarios: list[Scenario]) -> list[Measured]:
    """Scenarios whose servers are started alike share them."""
    with running_all(run.servers, run.plan(scenarios[0])) as targets:
        return [measured for scenario in scenarios for measured in run.play(scenario, targets)]


def _restart(run: Run) -> list[Measured]:
    """A fresh home each round; the server is stopped between the two, so only its disk remembers."""
    command = partial(ours, options=CACHE)
    results: list[Measured] = []
    for number in range(run.rounds):
        with tempfile.TemporaryDirectory() as home:
            pair = []
            for name in ("cold", "warm"):
                with running(name, command, run.plan(RESTART), home) as target:
                    pair += asyncio.run(
                        play_rounds(RESTART, [target], 1, lambda _: None, seed=run.seed + number, quick=run.is_quick)
                    )
        for measured in reversed(pair):  # ours is the warm one
            kept = Measured(scenario="restart", target=measured.target, round=number, reading=measured.reading)
            told(kept)
            results.append(kept)
    return results


def _lookup(run: Run, scenario: Scenario, guessing: str) -> list[Measured]:
    plan = run.plan(scenario)
    with (
        tempfile.TemporaryDirectory() as home,
        running("lookup", partial(ours, options=("--guessing", guessing)), plan, f"{home}/a") as guesses,
        running("no lookup", partial(ours, options=("--guessing", "off")), plan, f"{home}/b") as plain,
    ):
        time.sleep(IDLE_SECONDS)
        return run.play(scenario, [guesses, plain])


def _loop(run: Run) -> list[Measured]:
    if not run.batched_bench:
        raise SystemExit("needs llama-batched-bench: give --batched-bench, or --llama-server with it beside")
    tokens, threads = (16 if run.is_quick else 96), run.threads or usable_cores()
    results: list[Measured] = []
    for streams in LOOP_LEVELS:
        theirs = partial(batched_bench_rate, run.batched_bench, run.model.path, streams, threads, tokens)
        tried = dict.fromkeys(FLAGS, 0.0)
        for flags in FLAGS if run.is_quick else (*FLAGS, *reversed(FLAGS)):  # the better of two tries
            tried[flags] = max(tried[flags], theirs(flags))
        fastest = max(tried, key=lambda flags: tried[flags])
        speeds = ", ".join(f"{flags} {tried[flags]:.1f}" for flags in FLAGS)
        print(f"loop, {streams} streams, llama-batched-bench: {speeds}: {fastest} it is", file=sys.stderr)
        sides = [
            ("localllm", partial(_our_rate, run, streams, tokens)),
            (f"llama-batched-bench {fastest}", partial(theirs, fastest)),
        ]
        level = []
        for number in range(run.rounds if run.is_quick else LOOP_TIMES * run.rounds):
            for name, rate in sides if number % 2 == 0 else sides[::-1]:
                reading = Reading(values={"decode_rate": rate()})
                level.append(Measured(scenario=loop_name(streams), target=name, round=number, reading=reading))
                told(level[-1])
        results += level
    return results


def _our_rate(run: Run, streams: int, tokens: int) -> float:
    done = subprocess.run(
        our_command(run.model.path, streams, run.threads or 0, tokens),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=worker_environment(),
    )
    if done.returncode:
        raise SystemExit(f"our loop failed: {done.stderr[-1000:]}")
    return float(done.stdout)


def beside(llama_server: str | None) -> str | None:
    """The llama-batched-bench in the folder of a llama-server, if there is one."""
    found = Path(llama_server).with_name("llama-batched-bench") if llama_server else None
    return str(found) if found and found.is_file() else None
