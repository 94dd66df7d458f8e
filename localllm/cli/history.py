"""`localllm history`: the versions of a model that are here."""

from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

if TYPE_CHECKING:
    from localllm.models.manifest import Head

NAME = "history"
EPILOG = """\b
Examples:
  localllm history qwen3:1.7b
"""


def command(
    model: Annotated[str, typer.Argument(help="A model on this disk; see: localllm list")],
    json: options.Json = False,
) -> None:
    """Show the versions of a model that are here, oldest first."""
    import msgspec

    from localllm.cli.sheet import origin_of
    from localllm.cli.table import print_table
    from localllm.cli.words import time_words
    from localllm.runtime.library import Library
    from localllm.units import size_words

    library = Library(load_settings())
    head = library.head(model)
    versions = library.store.versions.manifests(head)
    if json:
        rows = [msgspec.to_builtins(manifest) | {"in_use": manifest.version == head.version} for manifest in versions]
        print(msgspec.json.encode(rows).decode())
        return
    print_table(
        ("VERSION", "SINCE", "SIZE", "FROM", "STATE"),
        (
            (
                manifest.version,
                time_words(manifest.created),
                size_words(manifest.size_bytes),
                origin_of(manifest),
                _state(head, manifest.version),
            )
            for manifest in versions
        ),
        numbers=("SIZE",),
    )


def _state(head: "Head", version: str) -> str:
    if version != head.version:
        return ""
    return "in use, pinned" if head.is_pinned else "in use"
