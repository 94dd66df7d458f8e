"""`localllm bench`: how fast a model is on this machine, or how servers compare."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import Settings, load_settings
from localllm.errors import ConfigError

if TYPE_CHECKING:
    from localllm.bench.load import LevelResult, LoadPlan
    from localllm.bench.model import ModelResult
    from localllm.models.local import LocalModel

NAME = "bench"
EPILOG = """\b
Examples:
  localllm bench
  localllm bench --model ./qwen.gguf --json
  localllm bench --url ours=http://127.0.0.1:11500/v1 --url theirs=http://127.0.0.1:8080/v1
"""


def command(
    model: options.Model = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help="Measure this OpenAI-compatible server instead; repeat to compare.", metavar="[NAME=]URL"),
    ] = None,
    streams: Annotated[str, typer.Option(help="Streams at once, with --url.", metavar="N,N,…")] = "1,4,8",
    repeats: Annotated[int, typer.Option(min=1, help="Runs; medians are printed.")] = 3,
    prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Length of the prompts.", metavar="N")] = None,
    answer_tokens: Annotated[int, typer.Option(min=2, help="Length of the answers.", metavar="N")] = 96,
    context: options.Context = None,
    threads: options.Threads = None,
    flash_attention: options.FlashAttention = None,
    json: options.Json = False,
) -> None:
    """Measure a model on this machine, or servers side by side.

    Servers are asked in turn, request by request.
    """
    import msgspec
    from rich.console import Console

    from localllm.bench.tables import load_table, model_table

    results: ModelResult | list[LevelResult]
    if url:
        from localllm.bench.load import LoadPlan

        plan = LoadPlan(
            levels=_levels(streams),
            repeats=repeats,
            prompt_tokens=prompt_tokens or 32,
            answer_tokens=answer_tokens,
        )
        results = asyncio.run(_load(url, plan))
        table = load_table(results)
    else:
        from localllm.cli.compose import bring

        settings = load_settings(model=model, context=context, threads=threads, flash_attention=flash_attention)
        local = bring(settings.model, settings)  # before the loop runs, which would keep Ctrl-C to itself
        results = asyncio.run(_model(local, settings, prompt_tokens or 512, answer_tokens, repeats))
        table = model_table(results)
    if json:
        print(msgspec.json.encode(results).decode())
    else:
        Console(highlight=False, markup=False, width=130 if url else None).print(table)


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
