"""`localllm chat`: the terminal app."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "chat"
EPILOG = """\b
Examples:
  localllm chat
  localllm chat --model ./qwen.gguf --system "You are terse."
"""


def command(
    model: options.Model = None,
    system: Annotated[str | None, typer.Option(help="System prompt.", metavar="TEXT")] = None,
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
) -> None:
    """Chat in the terminal."""
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
    from localllm.cli.compose import bring, make_service
    from localllm.tui.app import ChatApp

    local = bring(settings.model, settings)
    app = ChatApp(make_service([local], settings, jobs=1), system=system or "")
    app.run()
    raise typer.Exit(app.return_code or 0)
