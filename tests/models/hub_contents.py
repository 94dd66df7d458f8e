"""What the hub of the tests holds besides loose files: repositories with commits, branches, gates and LFS."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

LFS_SUFFIXES = (".gguf", ".safetensors", ".model", ".pte", ".bin")

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


def git_sha1(data: bytes) -> str:
    """What git calls these bytes ("Git Internals - Git Objects")."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@lru_cache(maxsize=32)  # large files are asked for in many ranges
def sha256(data: bytes) -> str:
    """The SHA-256 in hex digits: what LFS calls these bytes."""
    return hashlib.sha256(data).hexdigest()


def is_in_lfs(path: str) -> bool:
    """Whether the hub keeps a file of this name in LFS."""
    return path.endswith(LFS_SUFFIXES)


@dataclass
class Repository:
    """One repository; `commits` by their hash, `branches` by name."""

    name: str
    is_gated: bool = False
    is_private: bool = False
    card: dict[str, Json] = field(default_factory=lambda: {"license": "apache-2.0"})
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, bytes], branch: str) -> str:
        """The hash of a new commit that holds these files and nothing else."""
        tree = "\n".join(f"{git_sha1(data)} {path}" for path, data in sorted(files.items()))
        commit = git_sha1(f"{self.name} {len(self.commits)}\n{tree}".encode())
        self.commits[commit] = dict(files)
        self.branches[branch] = commit
        return commit

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch, a hash or the beginning of one means."""
        if revision in self.branches:
            return self.branches[revision]
        return next((commit for commit in self.commits if len(revision) >= 7 and commit.startswith(revision)), None)

    def describe(self, commit: str) -> dict[str, Json]:
        """What `GET /api/models/<name>?blobs=true` answers (hub API, "Get model info")."""
        siblings: list[Json] = [_sibling(path, data) for path, data in self.commits[commit].items()]
        return {
            "_id": "0123456789abcdef01234567",
            "id": self.name,
            "modelId": self.name,
            "sha": commit,
            "private": self.is_private,
            "gated": "auto" if self.is_gated else False,
            "disabled": False,
            "downloads": 3,
            "likes": 1,
            "tags": ["gguf"],
            "cardData": dict(self.card),
            "lastModified": "2026-01-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "siblings": siblings,
        }


def _sibling(path: str, data: bytes) -> dict[str, Json]:
    entry: dict[str, Json] = {"rfilename": path, "size": len(data), "blobId": git_sha1(data)}
    if is_in_lfs(path):
        entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
    return entry
