"""`localllm rm`: remove models from this disk."""

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
    models: Annotated[list[str], typer.Argument(help="Models on this disk; see: localllm list")],
    json: options.Json = False,
) -> None:
    """Remove models and free their space. A file that is used in place is only forgotten."""
    import msgspec

    from localllm.cli.talk import say
    from localllm.runtime.library import Library
    from localllm.units import size_words

    library = Library(load_settings())
    names = {library.require_name(model): None for model in models}  # all are there, or none is removed
    lost = [alias for alias, target in library.store.aliases.all().items() if library.known_as(target) in names]
    freed = {name: library.store.remove(name) for name in names}
    if json:
        rows = [{"removed": name, "freed_bytes": size_bytes} for name, size_bytes in freed.items()]
        print(msgspec.json.encode(rows).decode())
        return
    for name, size_bytes in freed.items():
        say(f"Removed {name}, {size_words(size_bytes)} freed.")
    for alias in lost:
        say(f"The alias {alias} is left; forget it with: localllm alias {alias} --remove")
