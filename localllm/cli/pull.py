"""`localllm pull`: bring a model onto this disk."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "pull"
EPILOG = """\b
Examples:
  localllm pull smollm2:135m
  localllm pull smollm2 --json
"""


def command(
    model: Annotated[str, typer.Argument(help="Name of a known model; see: localllm list --all")],
    json: options.Json = False,
) -> None:
    """Fetch a model and verify it. An interrupted download goes on where it stopped."""
    import msgspec

    from localllm.cli.compose import fetch
    from localllm.cli.talk import say
    from localllm.errors import InvalidRequest
    from localllm.models.card import ModelCard
    from localllm.models.catalog import Catalog
    from localllm.models.digest import is_model_name
    from localllm.models.reference import from_manifest, resolve
    from localllm.models.store import Store

    settings = load_settings()
    store = Store(settings.home_path)
    found = resolve(model, store, Catalog.bundled())
    if isinstance(found, ModelCard):
        manifest = fetch(found, store, settings)
    else:
        stored = store.find(found.id) if is_model_name(found.id) else None
        if stored is None or from_manifest(stored, store) != found:  # the echo engine, or a file of that name
            raise InvalidRequest(f"{model} is not pulled from anywhere: it is used where it is")
        manifest = stored
        say(f"{manifest.name} is already on this disk.")
    if json:
        print(msgspec.json.encode(manifest).decode())
