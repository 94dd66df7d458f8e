"""What `show` says of a model: one structure for people and for scripts."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from localllm.models.card import HubSource
from localllm.models.choose import programs_of
from localllm.models.hub.gguf_files import gguf_models
from localllm.models.local import LocalModel
from localllm.models.manifest import Manifest
from localllm.models.on_disk import TOKENIZERS
from localllm.models.quant import rank
from localllm.models.resolve import CardWanted, Pullable
from localllm.runtime.library import Library
from localllm.runtime.program_outlook import ProgramOutlook


class FileRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file on this disk."""

    filename: str
    size_bytes: int
    sha256: str = ""
    path: str


class Sheet(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model; what is not known is left out."""

    name: str
    where: Literal["here", "in place", "not here"]
    version: str = ""
    source: str = ""
    commit: str = ""  # of the repository that it is from
    follows: str = ""  # branch that updates come from
    license: str = ""
    base_model: str = ""
    architecture: str = ""
    parameters: int = 0
    context_tokens: int = 0  # that it was trained for; of a program, those that it holds
    call_tokens: int = 0  # that a program takes at once
    vocabulary: int = 0  # of a program, as layers and backends
    layers: int = 0
    backends: tuple[str, ...] = ()  # that it hands work to
    tokenizer: str = ""  # file that comes with it
    quant: str = ""
    bits_per_weight: float = 0.0
    features: tuple[str, ...] = ()  # of its chat template
    size_bytes: int = 0
    memory_bytes: int = 0  # with the context and the answers at once that would be chosen now
    reasons: tuple[str, ...] = ()
    quants: dict[str, int] = {}  # that it can be pulled in, with their bytes
    programs: dict[str, int] = {}  # of a repository: paths of .pte files, with their bytes
    is_estimate: bool = False  # of these bytes
    files: tuple[FileRow, ...] = ()


def sheet_of(library: Library, reference: str) -> Sheet:
    """The sheet of whatever `reference` means. Raises ModelNotFound, LoadFailed, DownloadFailed."""
    found = library.find(reference)
    if isinstance(found, Manifest):
        return _stored(library, found)
    if isinstance(found, LocalModel):
        return _with_outlook(_in_place(found), library, found)
    return _absent(library, found)


def origin_of(manifest: Manifest) -> str:
    """Where a version is from, in short."""
    origin = manifest.files[0].origin
    return f"{origin.repository}@{origin.revision[:7]}" if isinstance(origin, HubSource) else manifest.source


def _commit_of(manifest: Manifest) -> str:
    origin = manifest.files[0].origin
    return origin.revision if isinstance(origin, HubSource) else ""


def _stored(library: Library, manifest: Manifest) -> Sheet:
    rows = [
        FileRow(
            filename=file.filename, size_bytes=file.size_bytes, sha256=file.sha256, path=str(library.store.path(file))
        )
        for file in manifest.files
    ]
    sheet = Sheet(
        name=manifest.name,
        where="in place" if any(file.is_linked for file in manifest.files) else "here",
        version=manifest.version,
        source=manifest.source,
        commit=_commit_of(manifest),
        follows=manifest.follows,
        license=manifest.license,
        quant=manifest.quant,
        size_bytes=manifest.size_bytes,
        files=tuple(rows),
    )
    return sheet if manifest.format == "safetensors" else _with_outlook(sheet, library, library.load(manifest))


def _in_place(model: LocalModel) -> Sheet:
    paths = [Path(path) for path in model.parts or (model.path,)] if model.size_bytes else []
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(path for path in paths[0].iterdir() if path.is_file())
    rows = [FileRow(filename=path.name, size_bytes=path.stat().st_size, path=str(path)) for path in paths]
    return Sheet(name=model.id, where="in place", size_bytes=model.size_bytes, files=tuple(rows))


def _with_outlook(sheet: Sheet, library: Library, model: LocalModel) -> Sheet:
    """The sheet with what the files' headers say."""
    if model.format not in ("gguf", "pte"):  # others say nothing of themselves before they are loaded
        return sheet
    outlook = library.outlook_here(model)
    if isinstance(outlook, ProgramOutlook):
        return _with_program(sheet, outlook, model)
    facts = outlook.facts
    return msgspec.structs.replace(
        sheet,
        license=sheet.license or facts.license,
        base_model=facts.base_model,
        architecture=facts.architecture,
        parameters=facts.parameters,
        context_tokens=facts.context_tokens,
        quant=facts.quant,
        bits_per_weight=round(facts.bits_per_weight, 3),
        features=tuple(name for name, has in msgspec.structs.asdict(facts.features).items() if has),
        memory_bytes=outlook.forecast.footprint.total_bytes,
        reasons=outlook.forecast.reasons,
    )


def _with_program(sheet: Sheet, outlook: ProgramOutlook, model: LocalModel) -> Sheet:
    facts = outlook.facts
    return msgspec.structs.replace(
        sheet,
        context_tokens=facts.context_tokens or 0,
        call_tokens=facts.most_tokens or 0,
        vocabulary=facts.vocabulary or 0,
        layers=facts.layers or 0,
        backends=facts.backends,
        tokenizer=next((name for name in TOKENIZERS if name in model.beside), ""),
        memory_bytes=outlook.forecast.footprint.total_bytes,
        reasons=outlook.forecast.reasons,
    )


def _absent(library: Library, pullable: Pullable) -> Sheet:
    """Of a model that is not here: what its card says, or the hub."""
    if isinstance(pullable, CardWanted):
        card = pullable.card
        return Sheet(
            name=pullable.name,
            where="not here",
            license=card.license_name or card.license,
            base_model=card.base_model,
            architecture=card.localllm.architecture,
            parameters=card.localllm.parameters,
            context_tokens=card.localllm.context_tokens,
            features=tuple(card.localllm.features),
            quants={quant: card.estimated_bytes(quant) for quant in card.quants},
            is_estimate=card.artifact is None,
        )
    repository = library.read_repository(pullable.repository, pullable.revision)
    sets = gguf_models(repository)
    return Sheet(
        name=repository.repository,
        where="not here",
        commit=repository.commit,
        license=repository.license,
        base_model=repository.base_model,
        quants={quant: sum(file.size_bytes for file in sets[quant]) for quant in sorted(sets, key=rank)},
        programs={file.path: file.size_bytes for file in programs_of(repository)},
    )
