"""`localllm update`: newer versions of models."""

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from localllm.cli import options
from localllm.config import load_settings

if TYPE_CHECKING:
    from localllm.models.manifest import Manifest
    from localllm.runtime.library import Library

NAME = "update"
EPILOG = """\b
Examples:
  localllm update                                 all models
  localllm update --check                         only say what there is
  localllm update qwen3:1.7b
"""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one model."""

    name: str
    state: Literal["updated", "available", "current", "pinned", "fixed", "failed"]
    version: str  # in use from now on
    fetch_bytes: int = 0  # fetched, or still to be fetched
    reason: str = ""


def command(
    models: Annotated[list[str] | None, typer.Argument(help="Models on this disk. [default: all]")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what there is.")] = False,
    offline: options.Offline = None,
    json: options.Json = False,
) -> None:
    """Bring newer versions of models.

    The newer one comes beside the old one, which `localllm rollback` brings back at once. Only files that changed are
    fetched. Models that are pinned, or that follow nothing, stay as they are.
    """
    from localllm.cli.compose import named_or_all
    from localllm.cli.talk import raise_all
    from localllm.errors import ModelError
    from localllm.runtime.library import Library

    library = Library(load_settings(offline=offline))
    manifests, failures = named_or_all(library, models)
    outcomes = []
    for manifest in manifests:
        try:
            outcome = _update(library, manifest, only_check=check)
        except ModelError as error:
            outcome = Outcome(name=manifest.name, state="failed", version=manifest.version, reason=error.message)
            failures.append(type(error)(f"{manifest.name} could not be updated: {error.message}"))
        outcomes.append(outcome)
        if not json and outcome.state != "failed":
            print(_words(outcome))
    if json:
        print(msgspec.json.encode(outcomes).decode())
    raise_all(failures)


def _update(library: "Library", manifest: "Manifest", *, only_check: bool) -> Outcome:
    from localllm.cli.compose import get
    from localllm.errors import InvalidRequest

    unchanged = Outcome(name=manifest.name, state="current", version=manifest.version)
    if library.head(manifest.name).is_pinned:
        return msgspec.structs.replace(unchanged, state="pinned")
    try:
        wanted = library.newer(manifest)
    except InvalidRequest as error:
        return msgspec.structs.replace(unchanged, state="fixed", reason=error.message)
    if wanted is None:
        return unchanged
    missing_bytes = library.missing_bytes(wanted)
    if only_check:
        return msgspec.structs.replace(unchanged, state="available", fetch_bytes=missing_bytes)
    version = get(wanted, library).version
    return Outcome(name=manifest.name, state="updated", version=version, fetch_bytes=missing_bytes)


def _words(outcome: Outcome) -> str:
    from localllm.units import size_words

    size = size_words(outcome.fetch_bytes)
    match outcome.state:
        case "updated":
            words = f"version {outcome.version}" + (
                f", {size} fetched" if outcome.fetch_bytes else ", nothing to fetch"
            )
        case "available":
            words = f"a newer version is there, {size} to fetch"
        case "pinned":
            words = f"pinned to version {outcome.version}"
        case "fixed" | "failed":
            words = outcome.reason.removeprefix(f"{outcome.name} ")
        case "current":
            words = "nothing newer"
    return f"{outcome.name}: {words}"
