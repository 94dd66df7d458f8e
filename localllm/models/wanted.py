"""What is to be pulled: each file with what it must turn out to be, and the places it can come from."""

from msgspec import Struct

from localllm.models.card import HubSource, ModelCard, Source
from localllm.models.digest import Filename
from localllm.models.hub.repository import HubFile, HubRepository
from localllm.models.manifest import Format
from localllm.models.transfer.expected import Expected
from localllm.types import ModelDefaults

MAIN = "main"  # the branch of a repository that is meant where none is named


class WantedFile(Struct, frozen=True, kw_only=True):
    """One file."""

    filename: str
    expected: Expected
    sources: tuple[Source, ...]  # best first


class Wanted(Struct, frozen=True, kw_only=True):
    """A version of a model that can be brought into the store."""

    name: str
    format: Format
    quant: str
    license: str
    follows: str = ""  # as in a manifest
    defaults: ModelDefaults = ModelDefaults()
    files: tuple[WantedFile, ...]  # weights first, in order
    signature: WantedFile | None = None  # of the repository, if it has one
    is_pinned: bool = False  # digests that came with localllm or are in the store already: no signature adds to them
    reason: str = ""  # why this quant, where the user named none

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.expected.size_bytes for file in self.files)


def of_hub(file: HubFile, repository: HubRepository) -> WantedFile:
    """A file of a repository at its commit."""
    source = HubSource(repository=repository.repository, revision=repository.commit, filename=file.path)
    expected = Expected(size_bytes=file.size_bytes, sha256=file.sha256, git_sha1=file.git_sha1)
    return WantedFile(filename=Filename(file.path.rpartition("/")[2]), expected=expected, sources=(source,))


def pinned(card: ModelCard) -> Wanted | None:
    """The file whose digest stands in a card, if one does: nobody has to be asked what to fetch."""
    artifact = card.artifact
    if artifact is None:
        return None
    expected = Expected(size_bytes=artifact.size_bytes, sha256=artifact.digest)
    return Wanted(
        name=card.name,
        format=artifact.format,
        quant=artifact.quant,
        license=card.license,
        defaults=card.localllm.defaults,
        is_pinned=True,
        files=(WantedFile(filename=artifact.filename, expected=expected, sources=tuple(artifact.sources)),),
    )
