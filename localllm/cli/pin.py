"""`localllm pin`: leave a model as it is."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "pin"
EPILOG = """\b
Examples:
  localllm pin qwen3:1.7b
  localllm pin qwen3:1.7b --off
"""


def command(
    model: Annotated[str, typer.Argument(help="A model on this disk; see: localllm list")],
    off: Annotated[bool, typer.Option("--off", help="Let updates come again.")] = False,
    json: options.Json = False,
) -> None:
    """Keep updates away from a model.

    Its earlier versions stay, too: `localllm gc --old-versions` leaves them alone.
    """
    import msgspec

    from localllm.cli.talk import say
    from localllm.runtime.library import Library

    library = Library(load_settings())
    head = library.store.set_pinned(library.head(model).name, not off)
    if json:
        print(msgspec.json.encode(head).decode())
    else:
        say(f"{head.name} {'stays at version ' + head.version if head.is_pinned else 'follows updates again'}.")
