"""`localllm gc`: remove what is of no use."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "gc"
EPILOG = """\b
Examples:
  localllm gc --dry-run
  localllm gc --old-versions                      also versions that an update superseded
"""


def command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    old_versions: Annotated[bool, typer.Option("--old-versions", help="Also superseded versions.")] = False,
    json: options.Json = False,
) -> None:
    """Remove what no model uses.

    That is files of no model, and downloads that were given up. What is in use or under way stays.
    """
    import msgspec

    from localllm.cli.table import print_table
    from localllm.cli.talk import say
    from localllm.models.storage.garbage import collect_garbage, find_garbage
    from localllm.models.storage.store import Store
    from localllm.units import size_words

    store = Store(load_settings().home_path)
    garbage = find_garbage(store, old_versions=old_versions)
    freed = 0 if dry_run else collect_garbage(store, garbage)
    if json:
        print(msgspec.json.encode({"garbage": garbage, "freed_bytes": freed}).decode())
        return
    if not garbage:
        say("There is nothing to remove.")
        return
    rows = ((item.kind, size_words(item.size_bytes), item.what) for item in garbage)
    print_table(("KIND", "SIZE", "WHAT"), rows, numbers=("SIZE",))
    could = sum(item.size_bytes for item in garbage)
    say(f"{size_words(could)} would be freed." if dry_run else f"{size_words(freed)} freed.")
