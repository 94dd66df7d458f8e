"""`localllm rollback`: an earlier version of a model."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "rollback"
EPILOG = """\b
Examples:
  localllm rollback qwen3:1.7b
  localllm rollback qwen3:1.7b 3f2a                a version of localllm history, or how it begins
"""


def command(
    model: Annotated[str, typer.Argument(help="A model on this disk; see: localllm list")],
    version: Annotated[str | None, typer.Argument(help="[default: the one before]")] = None,
    json: options.Json = False,
) -> None:
    """Use an earlier version of a model again. Nothing is fetched, nothing is removed."""
    import msgspec

    from localllm.cli.talk import say
    from localllm.runtime.library import Library

    library = Library(load_settings())
    manifest = library.store.rollback(library.head(model).name, version)
    if json:
        print(msgspec.json.encode(manifest).decode())
    else:
        say(f"{manifest.name} is at version {manifest.version}; keep it there with: localllm pin {manifest.name}")
