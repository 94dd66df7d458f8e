"""`localllm rm`: remove a model from this disk."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "rm"
EPILOG = """\b
Examples:
  localllm rm smollm2:135m
"""


def command(
    model: Annotated[str, typer.Argument(help="Name of a model on this disk; see: localllm list")],
    json: options.Json = False,
) -> None:
    """Remove a model and free its space."""
    import msgspec

    from localllm.cli.talk import say
    from localllm.models.catalog import Catalog
    from localllm.models.store import Store

    card = Catalog.bundled().find(model)
    name = card.name if card else model
    freed = Store(load_settings().home_path).remove(name)
    if json:
        print(msgspec.json.encode({"removed": name, "freed_bytes": freed}).decode())
    else:
        say(f"Removed {name}, {freed / 1e6:.0f} MB freed.")
