"""`localllm serve`: the OpenAI-compatible server."""

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

if TYPE_CHECKING:
    import socket

    from localllm.api.clients import Clients
    from localllm.runtime.local import LocalService

NAME = "serve"
EPILOG = """\b
Examples:
  localllm serve
  localllm serve --model ./qwen.gguf --port 8080 --parallel 8
  localllm serve --model ./qwen.gguf --lora pirate=./pirate-lora.gguf
  LOCALLLM_API_KEY=secret localllm serve --host 0.0.0.0
"""


def command(
    model: options.Model = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. [default: 127.0.0.1]", metavar="ADDRESS")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 picks a free one. [default: 11500]")] = None,
    parallel: options.Parallel = None,
    max_queue: options.MaxQueue = None,
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
    draft: options.Draft = None,
    guessing: options.GuessingMode = None,
    lora: options.Lora = None,
    cache_bytes: options.CacheBytes = None,
) -> None:
    """Serve an OpenAI-compatible API on this machine.

    A key for the clients is set with LOCALLLM_API_KEY or in the config file, where each client can have one of
    its own; without any only this machine may connect.
    """
    settings = load_settings(
        model=model,
        host=host,
        port=port,
        parallel=options.parallel_of(parallel),
        max_queue=max_queue,
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
        draft=draft,
        guessing=guessing,
        lora=options.lora_of(lora),
        cache_bytes=cache_bytes,
    )
    from localllm.api.clients import Clients
    from localllm.api.server import bind
    from localllm.cli.compose import bring, make_service

    clients = Clients(settings.api_key, settings.keys, share_cache=settings.share_cache)
    listener = bind(settings.host, settings.port, clients)
    service = make_service([bring(settings.model, settings)], settings, keeps_prompts=True, workload="serving")
    # uvicorn raises a signal again after it has shut down; by then there is nothing left to do for it
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(service, listener, clients, settings.host))


async def _serve(service: "LocalService", listener: "socket.socket", clients: "Clients", host: str) -> None:
    from localllm.api.server import make_server, url_of
    from localllm.cli.loading import load
    from localllm.cli.talk import say

    try:
        await load(service)
    except BaseException:
        await service.close()
        raise
    info = (await service.models())[0]
    if info.engine is not None:
        say(
            f"Serving {info.id} at {url_of(listener)} "
            f"({info.engine.max_jobs} at a time, {info.engine.context_tokens} tokens each, Ctrl-C stops)"
        )
    await make_server(service, clients=clients, host=host).serve(sockets=[listener])


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.Loop
