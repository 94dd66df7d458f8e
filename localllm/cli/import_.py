"""`localllm import`: models that are on this machine already."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import foreign_folders, load_settings

if TYPE_CHECKING:
    from localllm.models.manifest import Manifest
    from localllm.models.scan.found import FoundModel
    from localllm.runtime.library import Library

NAME = "import"
EPILOG = """\b
Examples:
  localllm import ./model.gguf                    copy it into the store
  localllm import --link ./model.gguf             use it where it lies
  localllm import --scan                          what Ollama, LM Studio and others have here
  localllm import --scan --link                   use all of that where it lies
"""


def command(
    path: Annotated[Path | None, typer.Argument(help="A .gguf, a .pte, or the folder of a checkpoint.")] = None,
    link: Annotated[bool, typer.Option("--link", help="Use it in place: never copied, changed or removed.")] = False,
    name: Annotated[str | None, typer.Option(help="What to call it. [default: from the file]", metavar="NAME")] = None,
    scan: Annotated[bool, typer.Option("--scan", help="Look for models of other programs.")] = False,
    json: options.Json = False,
) -> None:
    """Take in a model that is on this machine already."""
    import msgspec

    from localllm.cli.talk import reading_bar, say
    from localllm.errors import InvalidRequest
    from localllm.models.candidate import candidate_of
    from localllm.runtime.library import Library

    if scan == (path is not None) or (scan and name is not None):
        raise InvalidRequest("name one file or folder, or --scan to look for models of other programs")
    library = Library(load_settings())
    if path is None:
        _scan(library, link=link, json=json)
        return
    candidate = candidate_of(path.expanduser(), name)
    with reading_bar(candidate.name) as report:
        manifest = library.take_in(candidate, report, link=link)
    if json:
        print(msgspec.json.encode(manifest).decode())
    else:
        say(f"{manifest.name} is here now{', used where it lies' if link else ''}.")


def _scan(library: "Library", *, link: bool, json: bool) -> None:
    import msgspec

    from localllm.cli.table import print_table
    from localllm.cli.talk import say
    from localllm.models.scan.scan import scan
    from localllm.units import size_words

    report = scan(foreign_folders())
    for skipped in report.skipped:
        say(f"Left out {skipped.place}: {skipped.reason}")
    if link:
        _link_all(library, report.models, json=json)
    elif json:
        print(msgspec.json.encode(report.models, enc_hook=str).decode())
    elif report.models:
        print_table(
            ("NAME", "FROM", "SIZE", "PATH"),
            (
                (model.name, model.origin, size_words(model.size_bytes), str(model.files[0].path))
                for model in report.models
            ),
            numbers=("SIZE",),
        )
        say("Use them where they lie: localllm import --scan --link")
    else:
        say("No models of other programs found.")


def _link_all(library: "Library", models: "tuple[FoundModel, ...]", *, json: bool) -> None:
    import msgspec

    from localllm.cli.talk import say
    from localllm.errors import LocalLLMError

    linked: list[Manifest] = []
    for model in models:
        try:
            linked.append(_link(library, model))
        except LocalLLMError as error:
            say(f"Left out {model.name}: {error.message}")
        else:
            say(f"{model.name} is here now, used where it lies.")
    if json:
        print(msgspec.json.encode(linked).decode())


def _link(library: "Library", model: "FoundModel") -> "Manifest":
    import msgspec

    from localllm.cli.talk import reading_bar
    from localllm.models.candidate import candidate_of
    from localllm.models.names import ModelName

    candidate = candidate_of(model.files[0].path, ModelName(model.name))
    digests = {file.path: file.sha256 for file in model.files if file.sha256 is not None}
    with reading_bar(model.name) as report:
        return library.take_in(msgspec.structs.replace(candidate, digests=digests), report, link=True)
