"""`localllm run`: one question, one answer on stdout."""

import asyncio
import stat
import sys
from contextlib import aclosing
from os import fstat
from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings
from localllm.errors import InvalidRequest

if TYPE_CHECKING:
    from localllm.runtime.local import LocalService
    from localllm.types import ChatRequest, Finished

NAME = "run"
EPILOG = """\b
Examples:
  localllm run "What is the capital of France?"
  cat notes.txt | localllm run "Summarize these notes"
  echo "Hello" | localllm run
  localllm run --temperature 0 --json "Name three rivers"
"""


def command(
    prompt: Annotated[str | None, typer.Argument(help="The question; what is piped in is added below it.")] = None,
    model: options.Model = None,
    system: Annotated[str | None, typer.Option(help="System prompt.", metavar="TEXT")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(min=0)] = None,
    top_p: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    min_p: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    repeat_penalty: Annotated[float | None, typer.Option(min=0.01, max=10)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same answer.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.", metavar="N")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer before this text; repeatable.")] = None,
    engine: options.Engine = None,
    workload: options.For = None,
    device: options.Device = None,
    prefer: options.Prefer = None,
    kv_type: options.KvType = None,
    allow_smaller: options.AllowSmaller = None,
    engine_option: options.EngineOption = None,
    context: options.Context = None,
    threads: options.Threads = None,
    flash_attention: options.FlashAttention = None,
    offline: options.Offline = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Print tokens, speed, and where it ran and why, to stderr.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Answer one question and exit."""
    from localllm.cli.compose import bring, make_service
    from localllm.types import ChatRequest, Message, SamplingChoice

    settings = load_settings(
        model=model,
        engine=engine,
        workload=workload,
        device=device,
        prefer=prefer,
        kv_type=kv_type,
        allow_smaller=allow_smaller,
        engine_options=options.engine_options_of(engine_option),
        context=context,
        threads=threads,
        flash_attention=flash_attention,
        offline=offline,
    )
    given = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "seed": seed,
        "max_tokens": max_tokens,
        "stop": tuple(stop) if stop else None,
    }
    sampling = SamplingChoice(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    messages = [Message("system", system)] if system else []
    messages.append(Message("user", _question(prompt)))
    request = ChatRequest(messages=tuple(messages), sampling=sampling)
    local = bring(settings.model, settings)  # before the loop runs, which would keep Ctrl-C to itself
    service = make_service([local], settings, jobs=1)
    asyncio.run(_answer(request, service, local.id, is_json=json, wants_stats=stats))


async def _answer(
    request: "ChatRequest", service: "LocalService", model: str, *, is_json: bool, wants_stats: bool
) -> None:
    from localllm.cli.loading import load
    from localllm.cli.waiting import WaitingLine
    from localllm.tui.placement import placement_words
    from localllm.tui.text import Cleaner
    from localllm.types import Finished, TextDelta

    cleaner = Cleaner() if sys.stdout.isatty() else None  # a model's text must not drive the terminal
    waiting = WaitingLine()
    end: Finished | None = None
    parts: list[str] = []
    try:
        await load(service)
        placement = placement_words((await service.models())[0])
        async with aclosing(service.chat(request)) as events:
            async for event in events:
                waiting.take(event)
                if isinstance(event, TextDelta):
                    parts.append(event.text)
                    if not is_json:
                        print(cleaner.feed(event.text) if cleaner else event.text, end="", flush=True)
                elif isinstance(event, Finished):
                    end = event
    finally:
        waiting.clear()
        if cleaner:
            print(cleaner.finish(), end="")
        if parts and not is_json and not parts[-1].endswith("\n"):
            print(flush=True)
        await service.close()
    if end is not None:
        _finish(end, "".join(parts), model, is_json=is_json, placement=placement if wants_stats else None)


def _finish(end: "Finished", text: str, model: str, *, is_json: bool, placement: list[str] | None) -> None:
    """Print what is known at the end; `placement`, where it is given, goes with the statistics."""
    from localllm.cli.report import answer_json, stats_line
    from localllm.cli.talk import say

    if is_json:
        print(answer_json(model, text, end))
    elif end.reason == "length":
        say("[cut off: the answer reached --max-tokens or the end of the context]")
    if placement is not None:
        say(stats_line(end.usage))
        for sentence in placement:
            say(sentence)


def _question(prompt: str | None) -> str:
    """The argument and what is piped in. Raises InvalidRequest when there is neither."""
    piped = _piped_text() if not prompt or _has_pipe() else ""
    question = "\n\n".join(text for text in (prompt, piped) if text)
    if not question.strip():
        raise InvalidRequest('nothing was asked; try: localllm run "What is the capital of France?"')
    return question


def _has_pipe() -> bool:
    """Whether stdin is a pipe or a file: not a terminal, and not the empty device of a service manager."""
    if sys.stdin is None or sys.stdin.closed:
        return False
    mode = fstat(sys.stdin.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _piped_text() -> str:
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    return sys.stdin.buffer.read().decode("utf-8", "replace").strip()
