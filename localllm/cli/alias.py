"""`localllm alias`: short names for models."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "alias"
EPILOG = """\b
Examples:
  localllm alias                                  all aliases
  localllm alias coder org/repo:Q4_K_M
  localllm alias coder                            what it stands for
  localllm alias coder --remove
"""


def command(
    name: Annotated[str | None, typer.Argument(help="The alias.")] = None,
    model: Annotated[str | None, typer.Argument(help="What it stands for: any reference to a model.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the alias.")] = False,
    json: options.Json = False,
) -> None:
    """Give a model a short name.

    Every verb, request and setting understands it.
    """
    import msgspec

    from localllm.cli.table import print_table
    from localllm.cli.talk import say
    from localllm.errors import InvalidRequest, ModelNotFound
    from localllm.runtime.library import Library

    library = Library(load_settings())
    if remove and (name is None or model is not None):
        raise InvalidRequest("--remove takes the alias alone: localllm alias NAME --remove")
    if name is not None and (remove or model is not None):
        library.set_alias(name, model)
    aliases = library.store.aliases.all()
    if name is not None and model is None and not remove:
        aliases = {known: target for known, target in aliases.items() if known == name.lower()}
        if not aliases:
            raise ModelNotFound(f"there is no alias {name[:80]!r}; make it one: localllm alias NAME MODEL")
    if json:
        print(msgspec.json.encode(aliases).decode())
    elif name is not None and remove:
        say(f"{name} stands for nothing any more.")
    elif name is not None and model is not None:
        say(f"{name} stands for {aliases[name]}.")
    elif aliases:
        print_table(("ALIAS", "STANDS FOR"), aliases.items())
    else:
        say("No aliases yet. Give one: localllm alias NAME MODEL")
