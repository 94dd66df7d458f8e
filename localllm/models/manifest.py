"""Manifests: what a version of a model is made of, and where each of its files came from."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from localllm.errors import IntegrityError
from localllm.models.card import HubSource, WheelSource
from localllm.models.digest import Digest, Filename
from localllm.types import ModelDefaults

Format = Literal["gguf", "pte", "mlc", "safetensors"]
MLC_CONFIG = "mlc-chat-config.json"  # what a model of MLC LLM is named by; its other files follow from it
VERSION_DIGITS = 12
VERSION_PATTERN = rf"[0-9a-f]{{{VERSION_DIGITS}}}"

Version = Annotated[str, Meta(pattern=rf"\A{VERSION_PATTERN}\Z")]  # becomes the name of a file
Bytes = Annotated[int, Meta(ge=0)]


class FileSource(Struct, frozen=True, tag="file", tag_field="from", forbid_unknown_fields=True):
    """A file that the user had already."""

    path: str


class MadeSource(Struct, frozen=True, tag="made", tag_field="from", forbid_unknown_fields=True):
    """A file that was made here."""

    of: str  # reference of the model that it was made from


Origin = HubSource | WheelSource | FileSource | MadeSource


class StoredFile(Struct, frozen=True, kw_only=True):
    """One file of a model. Raises IntegrityError for what is no plain file name or no digest."""

    filename: str
    size_bytes: Bytes
    sha256: str
    origin: Origin
    git_sha1: str = ""  # what the hub calls a file that is not in LFS
    path: str = ""  # of a file that is used in place: not ours, never changed or removed
    modified_ns: int = 0  # likewise: its time of change when it was hashed

    def __post_init__(self) -> None:
        Filename(self.filename)
        Digest(self.sha256)

    @property
    def digest(self) -> Digest:
        """Its SHA-256."""
        return Digest(self.sha256)

    @property
    def is_linked(self) -> bool:
        """Whether it is used in place."""
        return bool(self.path)


class Manifest(Struct, frozen=True, kw_only=True):
    """One version of a model. Raises IntegrityError where no file is of its format: there would be nothing to load."""

    name: str
    version: Version  # follows from the files
    created: int  # Unix time
    format: Format
    quant: str
    license: str
    source: str  # where the bytes came from, in words
    follows: str = ""  # branch of the repository that updates come from; empty: it stays as it is
    defaults: ModelDefaults = ModelDefaults()
    files: tuple[StoredFile, ...]  # weights first, in the order of their parts

    def __post_init__(self) -> None:
        if not self.weights:
            kind = f"an {MLC_CONFIG}" if self.format == "mlc" else f"a .{self.format} file"
            raise IntegrityError(f"no file of {self.name[:200]!r} is {kind}")

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def weights(self) -> tuple[StoredFile, ...]:
        """The files that an engine is given to load, in order; the others lie beside them."""
        if self.format == "mlc":
            return tuple(file for file in self.files if file.filename == MLC_CONFIG)
        return tuple(file for file in self.files if file.filename.lower().endswith(f".{self.format}"))

    @property
    def own_files(self) -> tuple[StoredFile, ...]:
        """The files that are kept in the store: all that are not used in place."""
        return tuple(file for file in self.files if not file.is_linked)


class Head(Struct, frozen=True, kw_only=True):
    """Which version of a model is in use. Raises IntegrityError where that is none of those that are here."""

    name: str
    version: Version
    trail: tuple[Version, ...]  # all versions that are here, in the order they came
    is_pinned: bool = False  # updates leave it alone

    def __post_init__(self) -> None:
        if self.version not in self.trail:
            raise IntegrityError(f"version {self.version[:80]!r} is not in the trail")


def version_of(files: Iterable[StoredFile]) -> str:
    """The same for the same files under the same names, whenever and from wherever they came."""
    lines = sorted(f"{file.filename}\0{file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:VERSION_DIGITS]


def encode(item: Manifest | Head) -> bytes:
    """As JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(item), indent=2)
