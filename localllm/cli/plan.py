"""`localllm plan`: what a model would need, before it is downloaded."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import load_settings

if TYPE_CHECKING:
    from localllm.runtime.library import Library
    from localllm.runtime.outlook import Outlook
    from localllm.runtime.program_outlook import ProgramOutlook

NAME = "plan"
SPEED_WORDS = {
    "instant": "an answer is there at once",
    "fast": "faster than one reads",
    "reading": "as fast as one reads",
    "slow": "slower than one reads",
    "crawling": "something to leave running",
}
EPILOG = """\b
Examples:
  localllm plan qwen3:4b
  localllm plan org/repo:Q4_K_M --context 16384
  localllm plan ./model.gguf --json
"""


def command(
    model: Annotated[str, typer.Argument(help="Any model: known, on the hub, on this disk.")],
    context: options.Context = None,
    parallel: options.Parallel = None,
    offline: options.Offline = None,
    json: options.Json = False,
) -> None:
    """Say what a model needs and how fast it may be here.

    Nothing is downloaded but the header of its file.
    """
    import msgspec

    from localllm.cli.table import print_fields
    from localllm.errors import NoRoom
    from localllm.runtime.library import Library

    settings = load_settings(offline=offline, context=context, parallel=options.parallel_of(parallel))
    name, download_bytes, reason, outlook = _look(Library(settings), model)
    if json:
        print(msgspec.json.encode(_told(name, download_bytes, reason, outlook)).decode())
    else:
        print_fields(_fields(name, download_bytes, reason, outlook))
    if not outlook.forecast.fits:
        raise NoRoom(f"{name} does not fit: {'; '.join(outlook.forecast.reasons)}")


def _look(library: "Library", reference: str) -> "tuple[str, int, str, Outlook | ProgramOutlook]":
    """Name, bytes to download, why this quant, and what to expect."""
    from localllm.models.local import LocalModel

    found = library.resolve(reference)
    if isinstance(found, LocalModel):
        return found.id, 0, "", library.outlook_here(found)
    wanted = library.choose(found)
    return str(wanted.name), library.missing_bytes(wanted), wanted.reason, library.outlook_there(wanted)


def _told(name: str, download_bytes: int, reason: str, outlook: "Outlook | ProgramOutlook") -> dict[str, object]:
    """For scripts; what a template looks like is of no use to them."""
    import msgspec

    from localllm.runtime.program_outlook import ProgramOutlook

    facts: dict[str, object] = msgspec.to_builtins(outlook.facts)
    if not isinstance(outlook, ProgramOutlook):
        facts |= {"bits_per_weight": round(outlook.facts.bits_per_weight, 3)}
        facts.pop("chat_template")
    names = {"name": name, "download_bytes": download_bytes, "quant_reason": reason}
    told: dict[str, object] = msgspec.to_builtins(outlook)
    return names | told | {"facts": facts}


def _fields(
    name: str, download_bytes: int, reason: str, outlook: "Outlook | ProgramOutlook"
) -> Iterator[tuple[str, str]]:
    from localllm.units import size_words

    forecast = outlook.forecast
    yield "name", name
    yield from _facts(outlook)
    yield "", reason
    yield "download", size_words(download_bytes) if download_bytes else "nothing, it is on this disk"
    yield "runs on", f"{outlook.engine}, {outlook.device}"
    if forecast.speed_class is not None:
        yield "speed", f"{forecast.speed_class}: {SPEED_WORDS[forecast.speed_class]}"
    if forecast.fits:
        heading = "needs" if forecast.speed_class is None else "because"
        yield from zip((heading, *[""] * len(forecast.reasons)), forecast.reasons, strict=False)


def _facts(outlook: "Outlook | ProgramOutlook") -> Iterator[tuple[str, str]]:
    from localllm.cli.words import count_words
    from localllm.runtime.program_outlook import ProgramOutlook
    from localllm.units import size_words

    if isinstance(outlook, ProgramOutlook):
        layers = f", {outlook.facts.layers} layers" if outlook.facts.layers else ""
        yield "program", f"{size_words(outlook.facts.size_bytes)}{layers}"
        return
    facts = outlook.facts
    yield "architecture", f"{facts.architecture}, {count_words(facts.parameters)} parameters"
    yield "quant", f"{facts.quant} ({facts.bits_per_weight:.2f} bits per weight)"
