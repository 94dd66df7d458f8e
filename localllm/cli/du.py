"""`localllm du`: what models take on disk."""

from localllm.cli import options
from localllm.config import load_settings

NAME = "du"
EPILOG = """\b
Examples:
  localllm du
"""


def command(json: options.Json = False) -> None:
    """Show what models take on disk.

    ALONE is what removing a model would free: other files are shared. IN PLACE are files of other programs.
    """
    import msgspec

    from localllm.cli.table import print_fields, print_table
    from localllm.models.storage.store import Store
    from localllm.models.storage.usage import disk_usage
    from localllm.units import size_words

    usage = disk_usage(Store(load_settings().home_path))
    if json:
        print(msgspec.json.encode(usage).decode())
        return
    if usage.models:
        print_table(
            ("NAME", "VERSIONS", "SIZE", "ALONE", "IN PLACE"),
            (
                (
                    model.name,
                    str(model.versions),
                    size_words(model.total_bytes),
                    size_words(model.own_bytes),
                    size_words(model.linked_bytes) if model.linked_bytes else "",
                )
                for model in usage.models
            ),
            numbers=("VERSIONS", "SIZE", "ALONE", "IN PLACE"),
        )
        print()
    print_fields(
        (
            ("models", size_words(usage.blobs_bytes)),
            ("downloads", f"{size_words(usage.parts_bytes)} under way" if usage.parts_bytes else ""),
            ("prompts", f"{size_words(usage.kv_bytes)} remembered by the server" if usage.kv_bytes else ""),
        )
    )
