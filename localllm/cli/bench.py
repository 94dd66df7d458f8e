"""`localllm bench`: how fast a model is on this machine, or how servers compare."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import Settings, load_settings
from localllm.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from localllm.bench.load import LevelResult, LoadPlan
    from localllm.bench.model import ModelResult
    from localllm.models.local import LocalModel

NAME = "bench"
EPILOG = """\b
Examples:
  localllm bench
  localllm bench --model ./qwen.gguf --json
  localllm bench --engine llama_cpp --engine openvino
  localllm bench --url ours=http://127.0.0.1:11500/v1 --url theirs=http://127.0.0.1:8080/v1
"""


STREAMS, REPEATS, ANSWER_TOKENS, PROMPT_TOKENS, SERVER_PROMPT_TOKENS = "1,4,8", 3, 96, 512, 32


def command(
    model: options.Model = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare engines at chat, reading and serving; repeat it, or auto: all that run the model.",
            metavar="NAME",
        ),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help="Measure this OpenAI-compatible server instead; repeat to compare.", metavar="[NAME=]URL"),
    ] = None,
    streams: Annotated[
        str | None, typer.Option(help=f"Streams at once, with --url. [default: {STREAMS}]", metavar="N,N,…")
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help=f"Runs; medians are printed. [default: {REPEATS}]")] = None,
    prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Length of the prompts.", metavar="N")] = None,
    answer_tokens: Annotated[
        int | None, typer.Option(min=2, help=f"Length of the answers. [default: {ANSWER_TOKENS}]", metavar="N")
    ] = None,
    context: options.Context = None,
    threads: options.Threads = None,
    flash_attention: options.FlashAttention = None,
    json: options.Json = False,
) -> None:
    """Measure a model on this machine, or engines or servers side by side.

    Engines are measured one after the other, which renews what --engine auto goes by. Servers are asked in turn,
    request by request.
    """
    if engine:
        _refuse_beside_engine(
            url=url, streams=streams, repeats=repeats, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens
        )
        _engines(
            engine, load_settings(model=model, context=context, threads=threads, flash_attention=flash_attention), json
        )
    elif url:
        from localllm.bench.load import LoadPlan
        from localllm.bench.tables import load_table

        plan = LoadPlan(
            levels=_levels(streams or STREAMS),
            repeats=repeats or REPEATS,
            prompt_tokens=prompt_tokens or SERVER_PROMPT_TOKENS,
            answer_tokens=answer_tokens or ANSWER_TOKENS,
        )
        results = asyncio.run(_load(url, plan))
        _print(results, load_table(results), json, width=130)
    else:
        from localllm.bench.tables import model_table
        from localllm.cli.compose import bring

        settings = load_settings(model=model, context=context, threads=threads, flash_attention=flash_attention)
        local = bring(settings.model, settings)  # before the loop runs, which would keep Ctrl-C to itself
        lengths = (prompt_tokens or PROMPT_TOKENS, answer_tokens or ANSWER_TOKENS)
        result = asyncio.run(_model(local, settings, *lengths, repeats or REPEATS))
        _print(result, model_table(result), json)


def _engines(names: list[str], settings: Settings, json: bool) -> None:
    """Raises the last error of an engine that was named, when all has been printed."""
    from localllm.bench.tables import speeds_table
    from localllm.cli.comparing import compare_engines
    from localllm.cli.compose import bring, make_service
    from localllm.cli.talk import raise_all

    local = bring(settings.model, settings)
    compared, errors = compare_engines(local, names, settings, lambda model, its: make_service([model], its))
    if json or compared.engines:
        _print(compared, speeds_table(compared.engines), json, width=130, lines=compared.lines)
    raise_all(errors)


def _print(results: object, table: "Table", json: bool, *, width: int | None = None, lines: Sequence[str] = ()) -> None:
    import msgspec
    from rich.console import Console

    if json:
        print(msgspec.json.encode(results).decode())
        return
    Console(highlight=False, markup=False, width=width).print(table)
    for line in lines:
        print(line)


def _refuse_beside_engine(**given: object) -> None:
    """Raises ConfigError for an option that measuring engines has no use for: what they do is always the same."""
    refused = next((name for name, value in given.items() if value is not None), None)
    if refused is not None:
        raise ConfigError(f"--{refused.replace('_', '-')} does not go with --engine; leave one of them out")


async def _model(
    local: "LocalModel", settings: Settings, prompt_tokens: int, answer_tokens: int, repeats: int
) -> "ModelResult":
    from localllm.bench.model import bench_model
    from localllm.cli.compose import make_service

    service = make_service([local], settings, jobs=1)
    try:
        return await bench_model(service, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, repeats=repeats)
    finally:
        await service.close()


async def _load(urls: list[str], plan: "LoadPlan") -> "list[LevelResult]":
    from localllm.bench.client import find_target
    from localllm.bench.load import run_load
    from localllm.bench.tables import level_line
    from localllm.cli.talk import say

    return await run_load([await find_target(url) for url in urls], plan, lambda result: say(level_line(result)))


def _levels(text: str) -> tuple[int, ...]:
    try:
        levels = tuple(int(part) for part in text.split(","))
    except ValueError:
        levels = ()
    if not levels or min(levels) < 1:
        raise ConfigError(f"--streams takes numbers with commas between them, like 1,4,8; not {text!r}")
    return levels
