"""The `localllm` command: its verbs, and what becomes of errors."""

import sys
from typing import Annotated

import typer

from localllm import __version__
from localllm.cli import (
    alias,
    bench,
    chat,
    cp,
    devices,
    du,
    gc,
    history,
    import_,
    list_,
    pin,
    plan,
    pull,
    quantize,
    repair,
    rm,
    rollback,
    run,
    serve,
    show,
    update,
    verify,
)
from localllm.cli.exits import exit_code
from localllm.cli.talk import complain
from localllm.errors import LocalLLMError

EPILOG = """\b
Examples:
  localllm run "What is the capital of France?"
  git diff | localllm run "Summarize this change"
  localllm chat
  localllm serve          then point an OpenAI client at http://127.0.0.1:11500/v1
"""

app = typer.Typer(
    name="localllm",
    help="Talk to language models that run on this machine.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

_TALK = (run, chat, serve)
_MODELS = (
    list_,
    show,
    plan,
    pull,
    quantize,
    rm,
    cp,
    alias,
    import_,
    verify,
    repair,
    gc,
    du,
    update,
    history,
    rollback,
    pin,
)

for verb in (*_TALK, *_MODELS, bench, devices):
    app.command(verb.NAME, epilog=verb.EPILOG)(verb.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"localllm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Run the command; exits with a code of `exits`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="localllm")  # exits: 0 when done, 2 for a wrong command line, 130 for Ctrl-C
    except LocalLLMError as error:
        complain(error.message)
        sys.exit(exit_code(error))
