"""`localllm list`: the models on this disk."""

from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

if TYPE_CHECKING:
    from localllm.cli.rows import ModelRow

NAME = "list"
EPILOG = """\b
Examples:
  localllm list
  localllm list --all --json
"""


def command(
    all_: Annotated[bool, typer.Option("--all", "-a", help="Also the known models that can be pulled.")] = False,
    json: options.Json = False,
) -> None:
    """List the models on this disk."""
    import msgspec

    from localllm.cli.rows import model_rows
    from localllm.cli.table import print_table
    from localllm.cli.talk import NOTHING_HERE, raise_all, say
    from localllm.cli.words import time_words
    from localllm.devices.cpu import available_memory_bytes
    from localllm.models.catalog import Catalog
    from localllm.models.storage.store import Store

    store = Store(load_settings().home_path)
    rows = model_rows(store, Catalog.bundled() if all_ else Catalog([]), available_memory_bytes())
    damages = store.survey().damages
    if json:
        print(msgspec.json.encode(rows).decode())
    elif rows:
        print_table(
            ("NAME", "QUANT", "SIZE", "LICENSE", "SINCE", "STATE"),
            (
                (
                    row.name,
                    row.quant,
                    _size(row),
                    row.license,
                    time_words(row.created) if row.is_here else "",
                    ", ".join(_state(row, among_others=all_)),
                )
                for row in rows
            ),
            numbers=("SIZE",),
        )
    elif not damages:
        say(NOTHING_HERE)
    raise_all(damages)


def _size(row: "ModelRow") -> str:
    from localllm.units import size_words

    return f"{'~' if row.is_estimate else ''}{size_words(row.size_bytes)}"


def _state(row: "ModelRow", *, among_others: bool) -> list[str]:
    """What is to be said of a model; that it is here only where that is not so of all."""
    if not row.is_here:
        return [] if row.fits else ["needs more memory"]
    words = ["here"] if among_others and not row.is_linked else []
    words += ["in place"] if row.is_linked else []
    words += ["pinned"] if row.is_pinned else []
    return words + ([] if row.is_whole else ["files missing"])
