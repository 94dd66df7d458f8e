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
    context: options.Context = None,
    threads: options.Threads = None,
    flash_attention: options.FlashAttention = None,
    offline: options.Offline = None,
) -> None:
    """Chat in the terminal."""
    settings = load_settings(
        model=model, context=context, threads=threads, flash_attention=flash_attention, offline=offline
    )
    from localllm.cli.compose import bring, make_service
    from localllm.tui.app import ChatApp

    local = bring(settings.model, settings)
    app = ChatApp(make_service([local], settings, jobs=1), system=system or "")
    app.run()
    raise typer.Exit(app.return_code or 0)
