"""`localllm list`: the models on this disk."""

import sys
from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "list"
PIPE_COLUMNS = 1000  # a line for each model, however long
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
    from localllm.models.catalog import Catalog
    from localllm.models.store import Store

    rows = model_rows(Store(load_settings().home_path), Catalog.bundled() if all_ else Catalog([]))
    if json:
        print(msgspec.json.encode(rows).decode())
        return
    if not rows:
        print("No models on this disk yet. See what there is: localllm list --all")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "QUANT", "SIZE", "LICENSE", "HERE"):
        table.add_column(heading, overflow="fold")  # no name is cut: it has to be typed
    for row in rows:
        here = "yes" if row.is_here else "no"
        table.add_row(row.name, row.quant, f"{row.size_bytes / 1e6:.0f} MB", row.license, here)
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    Console(highlight=False, markup=False, width=width).print(table)
