"""What a look around this machine brought: models of other programs, and what had to be left out."""

from pathlib import Path
from typing import Literal

from msgspec import Struct

from localllm.models.digest import Digest

Origin = Literal["ollama", "lm-studio", "hugging-face", "llama.cpp"]


class FoundFile(Struct, frozen=True, kw_only=True):
    """A GGUF file that belongs to another program."""

    path: Path  # absolute; for the hub cache the link whose name says what it is, not the blob behind it
    size_bytes: int
    sha256: Digest | None  # what its place says of it; nobody read the bytes. None: its place says nothing


class FoundModel(Struct, frozen=True, kw_only=True):
    """A complete model of another program."""

    name: str  # proposed; fit for a stored model
    origin: Origin
    files: tuple[FoundFile, ...]  # one, or all parts in order
    note: str = ""  # what the user should know, in words

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.size_bytes for file in self.files)


class Skipped(Struct, frozen=True, kw_only=True):
    """Something that could be a model, or hold one, and was left out."""

    path: Path
    reason: str  # in words, printable

    @property
    def place(self) -> str:
        """The path as text that any terminal can show: bytes that are no UTF-8 and control characters are escaped."""
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(self.path))


class ScanReport(Struct, frozen=True, kw_only=True):
    """Models by name, and what was left out by path."""

    models: tuple[FoundModel, ...]
    skipped: tuple[Skipped, ...]
