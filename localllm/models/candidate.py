"""From a path to a model that can be imported: what its files are, checked before any of them is taken in."""

import os
from pathlib import Path

from localllm.errors import InvalidRequest, LoadFailed, ModelError
from localllm.models.gguf.facts import facts_of
from localllm.models.gguf.header import read_header
from localllm.models.hub.kinds import SHARD_INDEX, WEIGHTS, is_allowed, is_pickle, shards_of
from localllm.models.import_file import Candidate
from localllm.models.manifest import Format
from localllm.models.names import ModelName, is_model_name
from localllm.models.on_disk import CHECKPOINT_CONFIG, beside_pte, format_of, parts_of, unreadable
from localllm.models.quant import canonical_quant, quant_of, split_of
from localllm.models.reference import MODEL_SUFFIXES, NameReference, parse, shown
from localllm.models.resolve import name_part

_MOST_LICENSE_CHARACTERS = 80  # a header may say anything


def candidate_of(path: Path, name: ModelName | str | None) -> Candidate:
    """The model at `path`: a .gguf, also any part of a split one, a .pte with its tokenizer, the folder of such a one,
    or that of a checkpoint.

    `name`: what the user calls it, with or without a tag; None takes the file's. Raises ModelNotFound where there is
    no such file, LoadFailed for what is no model, InvalidRequest for a name that cannot be one.
    """
    try:
        found = Path(os.path.abspath(path.expanduser()))
        str(found).encode()
        if found.is_dir():
            return _folder(found, name)
        parts = parts_of(found)
        return _gguf(parts, name) if format_of(found) == "gguf" else _exported(found, name)
    except UnicodeEncodeError as error:
        raise LoadFailed(f"the path {shown(path)} is no Unicode text, which a manifest needs; rename it") from error
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in the path, and the home of nobody
        raise unreadable(path, error) from error


def _gguf(parts: list[Path], name: ModelName | str | None) -> Candidate:
    facts = facts_of([read_header(part) for part in parts])
    if facts.split_count != len(parts):
        raise LoadFailed(
            f"{shown(parts[0])} is one of {facts.split_count} parts; import it under the name it had, "
            "…-00001-of-….gguf, with the others beside it"
        )
    if facts.has_vision:
        raise LoadFailed(f"{shown(parts[0])} turns pictures into embeddings for a model; import the model itself")
    return _candidate(parts, parts[0], name, quant=facts.quant, kind="gguf", license_=facts.license)


def _exported(path: Path, name: ModelName | str | None) -> Candidate:
    return _candidate([path, *beside_pte(path)], path, name, quant=quant_of(path.name) or "", kind="pte")


def _folder(folder: Path, name: ModelName | str | None) -> Candidate:
    """A checkpoint, or else the one program that lies in it, which may bring the config of its checkpoint."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    programs = [path for path in files if path.suffix.lower() == ".pte"]
    if not programs or any(path.name.endswith(WEIGHTS) for path in files):
        return _checkpoint(folder, name)
    if len(programs) > 1:
        names = ", ".join(path.name for path in programs[:8])
        raise LoadFailed(f"which one of {shown(folder)}? There is {shown(names)}; name the file itself")
    return _exported(programs[0], name)


def _checkpoint(folder: Path, name: ModelName | str | None) -> Candidate:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and is_allowed(path.name)]
    weights = [path for path in files if path.name.endswith(WEIGHTS)]
    if not weights or not (folder / CHECKPOINT_CONFIG).is_file():
        raise LoadFailed(_no_checkpoint(folder, has_weights=bool(weights)))
    _check_shards(folder, {path.name for path in weights})
    others = [path for path in files if path not in weights and path.suffix.lower() not in MODEL_SUFFIXES]
    return _candidate([*weights, *others], folder, name, quant="", kind="safetensors")


def _no_checkpoint(folder: Path, *, has_weights: bool) -> str:
    """Why a folder is none."""
    pickles = sorted(path.name for path in folder.iterdir() if is_pickle(path.name))
    if pickles and not has_weights:
        return (
            f"{shown(folder)} has its weights in {shown(pickles[0], _MOST_LICENSE_CHARACTERS)}; such files can run "
            f"code when they are read, so they are not; get the model as {WEIGHTS} files"
        )
    return f"{shown(folder)} is no checkpoint: it wants a {CHECKPOINT_CONFIG} and {WEIGHTS} files"


def _check_shards(folder: Path, names: set[str]) -> None:
    """Raises LoadFailed where a file of weights is missing that the checkpoint's own index names."""
    index = folder / SHARD_INDEX
    if not index.is_file():
        return
    try:
        missing = sorted(set(shards_of(index.read_bytes())) - names)
    except ModelError as error:
        raise LoadFailed(f"{shown(index)}: {error.message}; get the file again") from error
    if missing:
        raise LoadFailed(f"{shown(folder)} lacks {', '.join(missing[:3])}, which its {SHARD_INDEX} names; add it")


def _candidate(
    paths: list[Path], place: Path, name: ModelName | str | None, *, quant: str, kind: Format, license_: str = ""
) -> Candidate:
    return Candidate(
        name=_from_file(place, quant, kind) if name is None else _given(name, quant or kind),
        format=kind,
        quant=quant,
        license=shown(license_, _MOST_LICENSE_CHARACTERS) or "unknown",
        source=f"imported from {shown(place)}",
        paths=tuple(paths),
    )


def _given(name: ModelName | str, tag: str) -> ModelName:
    if isinstance(name, ModelName):
        return name
    whole = name if ":" in name else f"{name}:{name_part(tag.lower())}"
    if not _can_be_called(whole):
        raise InvalidRequest(f"{name[:80]!r} can be no model's name; one looks like my-model:q4_k_m")
    return ModelName(whole)


def _from_file(place: Path, quant: str, kind: Format) -> ModelName:
    """The name of the file or folder without its quant, which is the tag."""
    split = split_of(place.name)
    stem = split.stem if split is not None else place.stem if place.suffix.lower() in MODEL_SUFFIXES else place.name
    family = name_part(_without(quant, stem).lower())
    tag = name_part((quant or kind).lower())
    whole = f"{family}:{tag}"
    return ModelName(whole if _can_be_called(whole) else f"model-{whole}")


def _without(quant: str, stem: str) -> str:
    """A file's name without the quant at its end."""
    for at in range(1, len(stem) - 1):
        if stem[at] in "-._" and canonical_quant(stem[at + 1 :]) == quant:
            return stem[:at]
    return stem


def _can_be_called(name: str) -> bool:
    """Whether a user who types it means a model of the store, and no path, no repository and no echo."""
    return is_model_name(name) and isinstance(parse(name), NameReference)
