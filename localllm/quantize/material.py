"""The model that something is made from: its files, whatever they are called on this disk, and what they say of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct

from localllm.errors import InvalidRequest, LoadFailed, ModelError, ModelNotFound
from localllm.models.candidate import candidate_of
from localllm.models.card import HubSource
from localllm.models.front_matter import front_matter
from localllm.models.gguf.facts import facts_of
from localllm.models.gguf.header import read_header
from localllm.models.given_file import GivenFile
from localllm.models.manifest import MLC_CONFIG, Format, Manifest
from localllm.models.names import ModelName
from localllm.models.quant import canonical_quant
from localllm.models.storage.store import Store
from localllm.types import ModelDefaults

UNKNOWN_LICENSE = "unknown"
_CARD = "README.md"
_MOST_CARD_BYTES = 2**20

OnBytes = Callable[[int, int], None]  # bytes done, bytes in all
CheckQuant = Callable[[str, str], None]  # raises InvalidRequest for a quant, and what has it, that nothing is made from


class Material(Struct, frozen=True, kw_only=True):
    """A checkpoint or a GGUF on this disk, with the SHA-256 of every file."""

    reference: str  # what finds it again
    name: ModelName
    format: Literal["gguf", "safetensors"]
    quant: str  # of a GGUF; "" for a checkpoint
    license: str
    base_model: str  # "" where nothing says it
    revision: str = ""  # commit of the repository of the hub that it is from
    defaults: ModelDefaults
    files: Mapping[str, Path]  # by the names that the format knows them by, weights first
    digests: Mapping[str, str]  # of each

    @property
    def is_checkpoint(self) -> bool:
        """Whether it must be converted first."""
        return self.format == "safetensors"

    @property
    def weights_bytes(self) -> int:
        """Of the files that hold weights."""
        return sum(path.stat().st_size for name, path in self.files.items() if name.endswith(f".{self.format}"))


def of_manifest(manifest: Manifest, store: Store) -> Material:
    """A stored model. Raises LoadFailed for an exported one, from which nothing can be made, and where files are
    missing."""
    format_ = _format(manifest.format, manifest.name)
    if not store.is_whole(manifest):
        raise LoadFailed(f"not all files of {manifest.name} are here; mend it: localllm repair {manifest.name}")
    files = {file.filename: store.path(file) for file in manifest.files}
    hub = next((file.origin for file in manifest.files if isinstance(file.origin, HubSource)), None)
    return Material(
        reference=manifest.name,
        name=ModelName(manifest.name),
        format=format_,
        quant=manifest.quant,
        license=manifest.license,
        base_model=hub.repository if hub is not None else _base_model(manifest.format, files),
        revision=hub.revision if hub is not None else "",
        defaults=manifest.defaults,
        files=files,
        digests={file.filename: file.sha256 for file in manifest.files},
    )


def of_path(path: Path, reference: str, on_bytes: OnBytes, check_quant: CheckQuant) -> Material:
    """A .gguf, also any part of a split one, or the folder of a checkpoint; every byte is hashed.

    Raises ModelNotFound, LoadFailed for what is neither, and what `check_quant` does.
    """
    if path.suffix.lower() == ".pte":
        _format("pte", reference)
    if (path / MLC_CONFIG).is_file():
        _format("mlc", reference)
    candidate = candidate_of(path, None)
    format_ = _format(candidate.format, reference)
    check_quant(candidate.quant, reference)
    given = [GivenFile.at(path) for path in candidate.paths]
    total = sum(file.size_bytes for file in given)
    digests, before = {}, 0
    for file in given:

        def report(done: int, before: int = before) -> None:
            on_bytes(before + done, total)

        digests[file.path.name] = str(file.digest(report))
        before += file.size_bytes
    files = {path.name: path for path in candidate.paths}
    license_ = candidate.license
    if candidate.format == "safetensors":
        license_ = _of_card(files, "license") or UNKNOWN_LICENSE
    return Material(
        reference=reference,
        name=candidate.name,
        format=format_,
        quant=candidate.quant,
        license=license_,
        base_model=_base_model(candidate.format, files),
        defaults=ModelDefaults(),
        files=files,
        digests=digests,
    )


def name_for(material: Material, type_: str, wanted: str | None) -> ModelName:
    """What the result is called: as the user wants, with the type for a tag where none is named; else as the source,
    with its own type in place of the source's. Raises InvalidRequest."""
    if wanted is not None:
        whole = wanted if ":" in wanted else f"{wanted}:{type_.lower()}"
        try:
            return ModelName(whole)
        except ModelNotFound as error:
            raise InvalidRequest(f"{wanted[:80]!r} can be no model's name; one looks like my-model:q4_k_m") from error
    tag = _without_quant(material.name.tag)
    is_of_hub = "/" in material.name
    own = type_ if is_of_hub else type_.lower()
    return ModelName(f"{material.name.family}:{f'{tag}-{own}' if tag else own}")


def _without_quant(tag: str) -> str:
    """What a tag says beside the quant or format of the files: a size, or nothing."""
    if tag == "safetensors" or canonical_quant(tag) is not None:
        return ""
    for at, character in enumerate(tag):
        if character in "-_." and canonical_quant(tag[at + 1 :]) is not None:
            return tag[:at]
    return tag


def _format(format_: Format, name: str) -> Literal["gguf", "safetensors"]:
    if format_ == "pte":
        raise LoadFailed(f"{name} is an exported program, from which no other model is made; name its checkpoint")
    if format_ == "mlc":
        raise LoadFailed(f"{name} is made for MLC, and no other model is made from it; name its checkpoint")
    return format_


def _base_model(format_: Format, files: Mapping[str, Path]) -> str:
    if format_ == "safetensors":
        return _of_card(files, "base_model")
    return facts_of([read_header(next(iter(files.values())))]).base_model


def _of_card(files: Mapping[str, Path], key: str) -> str:
    """A value of the card that lies beside a checkpoint (hub docs, "Model Cards"); "" where it says nothing plain."""
    path = files.get(_CARD)
    if path is None or path.stat().st_size > _MOST_CARD_BYTES:
        return ""
    try:
        value = front_matter(path.read_text("utf-8", "replace"), _CARD).get(key)
    except ModelError:  # it says nothing that can be read
        return ""
    first = value[0] if isinstance(value, list) and value else value
    return first[:200] if isinstance(first, str) and first.isprintable() else ""
