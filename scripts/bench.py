"""Compare `localllm serve` with other servers on this machine: same model file, same requests, taken in turn.

Peers: llama_cpp.server and xllamacpp from .venv-bench, and a llama-server binary when its path is given.
All of them run with the same context for each stream and the same slots; all stay loaded throughout.

Without --scenario: so many streams at once, each with a prompt of its own, against every server.
With --scenario: kinds of work, against llama-server when its path is given and else xllamacpp; one line for each
figure, ours to the peer's, with the ratio that is wanted. The scenarios:
"""

import argparse
import asyncio
import secrets
import signal
import sys
import textwrap
from pathlib import Path

import msgspec
from bench_scenarios import WORDS, Run, beside, play_all
from bench_servers import SERVERS, ServerPlan, running_all
from rich.console import Console

from localllm.bench.client import find_target
from localllm.bench.load import LoadPlan, run_load
from localllm.bench.scenario import Measured
from localllm.bench.scenarios import goals_by_scenario
from localllm.bench.tables import level_line, load_table
from localllm.bench.verdict import rows_of, texts_compared, verdict_table
from localllm.cli.compose import bring
from localllm.config import load_settings
from localllm.errors import LocalLLMError
from localllm.models.local import LocalModel

LOAD_ONLY = {
    "url": [],
    "streams": "1,4,8",
    "prompt_tokens": 32,
    "answer_tokens": 96,
    "context": 2048,
    "slots": 8,
}


def main() -> None:
    """Start the servers, measure, print."""
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))  # so that the servers are stopped too
    try:
        model = bring(args.model, load_settings())
        is_complete = _scenarios(args, model) if args.scenario else _load(args, model)
    except LocalLLMError as error:
        raise SystemExit(f"bench: {error}") from error
    sys.exit(0 if is_complete else 1)


def _load(args: argparse.Namespace, model: LocalModel) -> bool:
    plan = LoadPlan(
        levels=tuple(int(level) for level in args.streams.split(",")),
        repeats=args.repeats,
        prompt_tokens=args.prompt_tokens,
        answer_tokens=args.answer_tokens,
    )
    servers = ServerPlan(
        model=model, context=args.context, slots=args.slots, threads=args.threads, llama_server=args.llama_server
    )
    with running_all(args.servers, servers) as targets:
        targets += [asyncio.run(find_target(text)) for text in args.url]
        results = asyncio.run(run_load(targets, plan, lambda result: print(level_line(result), file=sys.stderr)))
    Console(width=130, highlight=False).print(load_table(results))
    if args.json:
        Path(args.json).write_bytes(msgspec.json.encode(results))
    return True


def _scenarios(args: argparse.Namespace, model: LocalModel) -> bool:
    run = Run(
        model=model,
        names=args.scenario,
        servers=args.servers,
        rounds=args.repeats,
        is_quick=args.quick,
        threads=args.threads,
        llama_server=args.llama_server,
        batched_bench=args.batched_bench or beside(args.llama_server),
        seed=secrets.randbits(32),
    )
    missing: list[str] = []
    results: list[Measured] = []
    for part in play_all(run, missing.append):
        results += part
        if args.json:  # after every part: a long run that is stopped leaves what it has
            Path(args.json).write_bytes(msgspec.json.encode(results))
    table = verdict_table(rows_of(results, goals_by_scenario()), texts_compared(results))
    Console(width=160, highlight=False, markup=False).print(table)
    for words in missing:
        print(f"bench: not measured: {words}", file=sys.stderr)
    return not missing


def _arguments() -> argparse.Namespace:
    parser = _parser()
    args = parser.parse_args()
    if args.scenario:
        given = [f"--{name.replace('_', '-')}" for name in LOAD_ONLY if getattr(args, name) is not None]
        if given:
            parser.error(f"{', '.join(given)}: not with --scenario, which sets it itself")
        args.scenario = list(WORDS) if args.scenario == "all" else args.scenario.split(",")
        _check(parser, "scenario", args.scenario, list(WORDS))
        default = ["localllm", "llama-server" if args.llama_server else "xllamacpp"]
    else:
        if args.quick or args.batched_bench:
            parser.error("--quick and --batched-bench go with --scenario")
        for name, value in LOAD_ONLY.items():
            if getattr(args, name) is None:
                setattr(args, name, value)
        default = ["localllm", "llama_cpp.server", "xllamacpp", *(["llama-server"] if args.llama_server else [])]
    args.servers = args.servers.split(",") if args.servers else default
    _check(parser, "server", args.servers, list(SERVERS))
    if "llama-server" in args.servers and not args.llama_server:
        parser.error("llama-server: give its path with --llama-server")
    args.repeats = args.repeats or (1 if args.quick else 5)
    return args


def _check(parser: argparse.ArgumentParser, kind: str, names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            parser.error(f"no {kind} named {name!r}; there are {', '.join(known)}")


def _parser() -> argparse.ArgumentParser:
    told = "\n".join(
        textwrap.fill(words, 110, initial_indent=f"  {name:<14}", subsequent_indent=" " * 16)
        for name, words in WORDS.items()
    )
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{told}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="smollm2:135m")
    add("--scenario", metavar="NAME,NAME,…", help="scenarios to play, or all")
    add("--quick", action="store_true", help="with --scenario: one round of short answers, to see that all works")
    add("--servers", metavar="NAME,…", help=f"of {', '.join(SERVERS)}; the first is the reference")
    add("--llama-server", metavar="PATH", help="a llama-server binary, to be one of the servers")
    add("--batched-bench", metavar="PATH", help="llama-batched-bench, for loop [default: beside llama-server]")
    add("--url", metavar="NAME=URL", action="append", help="also a server that runs already; repeatable")
    add("--streams", metavar="N,N,…", help=f"streams at once [default: {LOAD_ONLY['streams']}]")
    add("--repeats", type=int, metavar="N", help="rounds [default: 5, or 1 if --quick]")
    add("--prompt-tokens", type=int, metavar="N", help=f"[default: {LOAD_ONLY['prompt_tokens']}]")
    add("--answer-tokens", type=int, metavar="N", help=f"[default: {LOAD_ONLY['answer_tokens']}]")
    add("--context", type=int, metavar="N", help=f"tokens for each stream [default: {LOAD_ONLY['context']}]")
    add("--slots", type=int, metavar="N", help=f"[default: {LOAD_ONLY['slots']}]")
    add("--threads", type=int, metavar="N", help="default: all cores; localllm then gives up those in use")
    add("--json", metavar="FILE", help="also every single result")
    return parser


main()
