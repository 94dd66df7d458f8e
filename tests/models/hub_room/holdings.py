"""What the hub of these tests has."""

from localllm.models.card import HubSource
from localllm.models.digest import Digest
from localllm.models.hub.repository import HubFile, HubRepository
from localllm.models.transfer.expected import Expected
from tests.models.hub_contents import git_sha1, sha256

REPOSITORY = "some-org/Tiny-GGUF"
GGUF = b"GGUF" + bytes(range(256)) * 100
FILES = {
    "tiny.Q4_0.gguf": GGUF,
    "README.md": b"# Tiny\n",
    "config.json": b"{}",
    ".gitattributes": b"*.gguf filter=lfs\n",
}


def file_of(path: str, data: bytes) -> HubFile:
    """In LFS where it is a GGUF."""
    if path.endswith(".gguf"):
        return HubFile(path=path, size_bytes=len(data), sha256=Digest(sha256(data)))
    return HubFile(path=path, size_bytes=len(data), git_sha1=git_sha1(data))


def source_of(commit: str, path: str = "tiny.Q4_0.gguf") -> HubSource:
    """A file of REPOSITORY."""
    return HubSource(REPOSITORY, commit, path)


def expected_of(path: str = "tiny.Q4_0.gguf") -> Expected:
    """What it must turn out to be."""
    file = file_of(path, FILES[path])
    return Expected(size_bytes=file.size_bytes, sha256=file.sha256, git_sha1=file.git_sha1)


def repository_of(*paths: str) -> HubRepository:
    """A repository of files with these paths."""
    return HubRepository(
        repository=REPOSITORY,
        commit="0" * 40,
        license="mit",
        is_gated=False,
        is_private=False,
        base_model="",
        files=tuple(file_of(path, GGUF) for path in sorted(paths)),
        refused=(),
    )
