"""`localllm cp`: a model under another name as well."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "cp"
EPILOG = """\b
Examples:
  localllm cp qwen3:1.7b my-assistant:v1
"""


def command(
    model: Annotated[str, typer.Argument(help="A model on this disk; see: localllm list")],
    name: Annotated[str, typer.Argument(help="Its other name; without a tag it gets the model's.")],
    json: options.Json = False,
) -> None:
    """Keep a model under another name as well.

    Its files are shared, not copied. Updates of the one do not change the other.
    """
    import msgspec

    from localllm.cli.talk import say
    from localllm.errors import InvalidRequest
    from localllm.models.names import ModelName, is_model_name
    from localllm.runtime.library import Library

    library = Library(load_settings())
    source = library.stored(model)
    whole = name if ":" in name else f"{name}:{ModelName(source.name).tag}"
    if not is_model_name(whole):
        raise InvalidRequest(f"{name[:80]!r} can be no model's name; one looks like my-model:v1")
    manifest = library.copy(source, whole)
    if json:
        print(msgspec.json.encode(manifest).decode())
    else:
        say(f"{manifest.name} is here now; its files are those of {model}.")
