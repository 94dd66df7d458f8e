"""`localllm pull`: bring a model onto this disk."""

from typing import Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

NAME = "pull"
EPILOG = """\b
Examples:
  localllm pull qwen3:1.7b                        a known model, in the quant that fits this machine
  localllm pull qwen3:1.7b-q8_0
  localllm pull org/repo:Q4_K_M                   a repository of the Hugging Face hub
  localllm pull org/repo@revision/file.gguf
"""


def command(
    model: Annotated[str, typer.Argument(help="A known model (localllm list --all) or a repository of the hub.")],
    limit_rate: Annotated[
        str | None, typer.Option(help="Bytes a second at most, such as 5M. [default: no limit]", metavar="RATE")
    ] = None,
    connections: Annotated[
        int | None, typer.Option(min=1, max=16, help="Connections side by side. [default: 4]", metavar="N")
    ] = None,
    offline: options.Offline = None,
    json: options.Json = False,
) -> None:
    """Fetch a model and verify it.

    An interrupted download goes on where it stopped. Without a quant, the best that fits this machine is taken.
    """
    import msgspec

    from localllm.cli.compose import fetch
    from localllm.cli.talk import say
    from localllm.errors import InvalidRequest
    from localllm.models.local import LocalModel
    from localllm.models.manifest import Manifest
    from localllm.runtime.library import Library

    settings = load_settings(offline=offline, connections=connections, download_limit=options.rate_of(limit_rate))
    library = Library(settings)
    found = library.find(model)
    if isinstance(found, LocalModel):
        raise InvalidRequest(f"{model} is not pulled from anywhere: it is used where it is")
    if isinstance(found, Manifest):
        newer = f" A newer version comes with: localllm update {found.name}" if found.follows else ""
        say(f"{found.name} is already on this disk.{newer}")
    else:
        found = fetch(found, library)
    if json:
        print(msgspec.json.encode(found).decode())
