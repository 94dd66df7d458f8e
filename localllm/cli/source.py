"""The model that a verb makes another one from, brought here first if need be."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from localllm.cli.compose import get
from localllm.cli.talk import reading_bar, say
from localllm.errors import DownloadFailed, InvalidRequest, ModelNotFound
from localllm.models.local import LocalModel
from localllm.models.manifest import Manifest
from localllm.models.quant import canonical_quant
from localllm.models.reference import EchoReference, HubReference, NameReference, PathReference, parse, shown
from localllm.models.resolve import CardWanted, Pullable
from localllm.runtime.library import Library
from localllm.units import size_words

if TYPE_CHECKING:
    from localllm.quantize.material import CheckQuant, Material
    from localllm.quantize.provenance.card import Made

# What reads models is imported where it is used: `--help` loads none of it.
CHECKPOINT_TAG = "safetensors"
_ORIGINALS = ("F32", "BF16", "F16")  # quants of GGUF files that have lost nothing, or hardly anything


def material_of(reference: str, library: Library, check_quant: "CheckQuant") -> "Material":
    """The checkpoint or GGUF that `reference` means. Where a repository or a model is both, the checkpoint is taken:
    GGUF files have mostly lost already what is to be measured.

    `check_quant` is asked before anything is fetched or read. Raises what it does; ModelNotFound, InvalidRequest for
    what has no weights to take, LoadFailed, IntegrityError, DownloadFailed.
    """
    from localllm.quantize.material import of_manifest, of_path

    parsed = parse(reference)
    if isinstance(parsed, EchoReference):
        raise InvalidRequest("the echo engine has no weights; name a checkpoint or a GGUF file")
    if isinstance(parsed, PathReference):
        path = Path(parsed.path).expanduser()
        with reading_bar(path.name) as report:
            return of_path(path, _from_home(path), report, check_quant)
    found = _found(parsed, reference, library)
    if isinstance(found, LocalModel):  # an alias of a path, or of echo
        return material_of(found.path if found.engine != "echo" else found.id, library, check_quant)
    if not isinstance(found, Manifest):
        found = _brought(found, library, check_quant)
    check_quant(found.quant, found.name)
    return of_manifest(found, library.store)


def material_again(made: "Made", library: Library) -> "Material":
    """What a card's model was made from, as far as it can still be found: of the hub, the commit that it was."""
    reference, revision = made.source.reference, made.source.revision
    parsed = parse(reference)
    if isinstance(parsed, HubReference) and parsed.revision is None and revision:
        stored = library.find(reference)
        if not isinstance(stored, Manifest) or not _holds(stored, made):
            reference = f"{parsed.repository}@{revision}" + (f":{parsed.quant}" if parsed.quant else "")
    return material_of(reference, library, lambda _quant, _name: None)


def read_card(reference: str, library: Library) -> "tuple[Made, str | None]":
    """How a model was made, from its card's file or from its name, and that name. Raises ModelNotFound, ModelError."""
    from localllm.quantize.provenance.card import read_made_file
    from localllm.quantize.provenance.keeping import CARD

    if reference.lower().endswith(".md"):
        path = Path(reference).expanduser()
        if not path.exists():
            raise ModelNotFound(f"there is no file {shown(path)}", param="from_card")
        return read_made_file(path), None
    manifest = library.stored(reference)
    file = next((file for file in manifest.files if file.filename == CARD), None)
    if file is None:
        raise ModelNotFound(f"{manifest.name} has no card that says how it was made", param="from_card")
    return read_made_file(library.store.path(file)), manifest.name


def _found(parsed: NameReference | HubReference, reference: str, library: Library) -> Manifest | LocalModel | Pullable:
    """What it means here. Of a model that is here in several types, the checkpoint is taken."""
    if isinstance(parsed, HubReference):
        return _found_of_hub(parsed, reference, library)
    if ":" not in parsed.name:
        with suppress(ModelNotFound):
            found = library.find(f"{parsed.name}:{CHECKPOINT_TAG}")
            if isinstance(found, Manifest):
                return found
    try:
        return library.find(reference)
    except ModelNotFound as error:
        if not Path(reference).exists():
            raise
        raise ModelNotFound(f"{error.message}; what is called so in this folder is ./{reference}") from error


def _found_of_hub(parsed: HubReference, reference: str, library: Library) -> Manifest | LocalModel | Pullable:
    """A repository whose checkpoint is not here is asked for it before its files that are here are taken."""
    if parsed.quant is not None or parsed.path is not None:
        return library.find(reference)
    at = f"@{parsed.revision}" if parsed.revision is not None else ""
    stored = library.find(f"{parsed.repository}{at}:{CHECKPOINT_TAG}")
    if isinstance(stored, Manifest):
        return stored
    try:
        return replace(parsed, quant=_original(parsed, library))
    except DownloadFailed:
        known = library.find(reference)
        if isinstance(known, Manifest):
            return known
        raise


def _original(parsed: HubReference, library: Library) -> str | None:
    """Which of a repository's files are the least processed; None where all are quantized. Raises ModelNotFound,
    DownloadFailed."""
    from localllm.models.hub.gguf_files import gguf_models
    from localllm.models.hub.kinds import WEIGHTS

    repository = library.read_repository(parsed.repository, parsed.revision)
    if any("/" not in file.path and file.path.endswith(WEIGHTS) for file in repository.files):
        return CHECKPOINT_TAG
    there = gguf_models(repository)
    return next((quant for quant in _ORIGINALS if quant in there), None)


def _brought(pullable: Pullable, library: Library, check_quant: "CheckQuant") -> Manifest:
    """Fetched, unless it is one of several quantized files of which none was named."""
    if isinstance(pullable, CardWanted) and pullable.quant is None:
        raise InvalidRequest(_quantized_only(pullable))
    if pullable.quant is not None and pullable.quant.lower() != CHECKPOINT_TAG:
        check_quant(canonical_quant(pullable.quant) or pullable.quant, _name(pullable))
    wanted = library.choose(pullable)
    check_quant(wanted.quant, wanted.name)
    is_new = library.missing_bytes(wanted) > 0
    manifest = get(wanted, library)
    if is_new:
        size = size_words(manifest.size_bytes)
        say(f"Got {manifest.name} ({size}, {manifest.license}), SHA-256 verified.")
    return manifest


def _name(pullable: Pullable) -> str:
    return pullable.name if isinstance(pullable, CardWanted) else f"{pullable.repository}:{pullable.quant}"


def _holds(manifest: Manifest, made: "Made") -> bool:
    digests = {file.filename: file.sha256 for file in manifest.files}
    return all(digests.get(name) == facts.sha256 for name, facts in made.source.files.items())


def _quantized_only(found: CardWanted) -> str:
    card = found.card
    return (
        f"{card.name} comes quantized already; name its checkpoint, localllm quantize {card.base_model}, or one of "
        f"its files, such as {card.name}-{card.quants[0].lower()}"
    )


def _from_home(path: Path) -> str:
    """The path as a card tells it: the same from every folder, and without the name of the user's home."""
    whole = Path(os.path.abspath(path))
    home = Path(os.path.expanduser("~"))
    return f"~/{whole.relative_to(home).as_posix()}" if whole.is_relative_to(home) else str(whole)
