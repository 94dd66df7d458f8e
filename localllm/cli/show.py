"""`localllm show`: what a model is."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

if TYPE_CHECKING:
    from localllm.cli.sheet import Sheet
    from localllm.runtime.library import Library

NAME = "show"
EPILOG = """\b
Examples:
  localllm show smollm2:135m
  localllm show org/repo                          what a repository of the hub has
  localllm show ./model.gguf --json
  localllm show my-model:q4_k_m --card            what was measured of a model that was made here
"""


def command(
    model: Annotated[str, typer.Argument(help="Any model: known, on the hub, on this disk.")],
    offline: options.Offline = None,
    card: Annotated[bool, typer.Option("--card", help="Print the card that came with its files.")] = False,
    json: options.Json = False,
) -> None:
    """Show what a model is, can do and needs."""
    import msgspec

    from localllm.cli.sheet import sheet_of
    from localllm.cli.table import print_fields
    from localllm.runtime.library import Library

    library = Library(load_settings(offline=offline))
    if card:
        print(_card(library, model))
        return
    sheet = sheet_of(library, model)
    if json:
        print(msgspec.json.encode(sheet).decode())
        return
    print_fields(_fields(sheet))


def _card(library: "Library", model: str) -> str:
    """The text of a stored model's README.md, safe to print. Raises ModelNotFound where it has none, LoadFailed."""
    from localllm.cli.words import printable
    from localllm.errors import ModelNotFound
    from localllm.models.on_disk import unreadable

    manifest = library.stored(model)
    file = next((file for file in manifest.files if file.filename == "README.md"), None)
    if file is None:
        raise ModelNotFound(f"{manifest.name} has no card; see: localllm show {manifest.name}", param="model")
    path = library.store.path(file)
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise unreadable(path, error) from error
    return "\n".join(map(printable, lines))


def _fields(sheet: "Sheet") -> Iterator[tuple[str, str]]:
    from localllm.cli.words import count_words
    from localllm.units import size_words

    yield "name", sheet.name
    yield "where", sheet.where
    yield "version", sheet.version
    yield "from", sheet.source
    yield "commit", sheet.commit
    yield "follows", sheet.follows
    yield "license", sheet.license
    yield "base model", sheet.base_model
    yield "architecture", sheet.architecture
    yield "parameters", count_words(sheet.parameters) if sheet.parameters else ""
    yield "context", f"{sheet.context_tokens} tokens" if sheet.context_tokens else ""
    yield "per call", f"up to {sheet.call_tokens} tokens" if sheet.call_tokens else ""
    yield "vocabulary", f"{sheet.vocabulary} tokens" if sheet.vocabulary else ""
    yield "layers", str(sheet.layers or "")
    yield "back ends", ", ".join(sheet.backends)
    yield "tokenizer", sheet.tokenizer
    precision = f" ({sheet.bits_per_weight:.2f} bits per weight)" if sheet.bits_per_weight else ""
    yield "quant", f"{sheet.quant}{precision}" if sheet.quant else ""
    yield "features", ", ".join(sheet.features)
    yield from _below("here", sheet.reasons)
    about = "~" if sheet.is_estimate else ""
    yield from _below("to pull", [f"{quant:8}{about}{size_words(size)}" for quant, size in sheet.quants.items()])
    yield from _below("programs", [f"{path}, {size_words(size)}" for path, size in sheet.programs.items()])
    for file in sheet.files:
        yield "file", f"{file.filename}, {size_words(file.size_bytes)}"
        yield "", f"SHA-256 {file.sha256}" if file.sha256 else ""
        yield "", file.path


def _below(heading: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Lines below one heading."""
    for line in lines:
        yield heading, line
        heading = ""
