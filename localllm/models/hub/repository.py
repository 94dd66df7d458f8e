"""What is in a repository of the hub at one commit, by one question; nothing in the answer is believed unchecked."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from localllm.errors import DownloadFailed, IntegrityError
from localllm.models.digest import HEX_PATTERN, Digest
from localllm.models.hub.ask import ask
from localllm.models.hub.naming import (
    COMMIT,
    check_repository,
    check_revision,
    is_hidden,
    is_path,
    is_repository,
    shown,
)
from localllm.models.hub.refusals import Question, unreadable
from localllm.models.hub.session import STEP_SECONDS, hub_headers, open_hub

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

MOST_FILES = 20_000  # a hostile list costs a second or two and some hundred MB, not the machine
UNKNOWN_LICENSE = "unknown"

Size = Annotated[int, Meta(ge=0, le=1 << 50)]


class HubFile(Struct, frozen=True, kw_only=True):
    """One file of a repository; it has one of the two digests: a SHA-256 in LFS, else that of its git blob."""

    path: str  # below the repository's root, with "/"; safe to write below a folder
    size_bytes: int
    sha256: Digest | None = None
    git_sha1: str | None = None  # 40 hex digits


class HubRepository(Struct, frozen=True, kw_only=True):
    """A repository at one commit; `files` by path."""

    repository: str  # owner/name, as it was asked for
    commit: str  # 40 hex digits
    license: str  # the hub's word for it, or what the author calls it; "unknown" where nothing is said
    is_gated: bool
    is_private: bool
    base_model: str  # owner/name, or empty
    files: tuple[HubFile, ...]
    refused: tuple[str, ...]  # names that cannot be written, or files without a size and a digest; for the terminal

    def find(self, path: str) -> HubFile | None:
        """The file of that path."""
        return next((file for file in self.files if file.path == path), None)


class _Lfs(Struct, frozen=True):
    size: Size
    sha256: Annotated[str, Meta(pattern=HEX_PATTERN)]


class _Sibling(Struct, frozen=True):
    """A file as the hub describes it (huggingface_hub, `RepoSibling`)."""

    rfilename: str
    size: Size | None = None
    blob_id: str | None = None
    lfs: _Lfs | None = None


def read_repository(repository: str, revision: str | None = None, *, offline: bool = False) -> HubRepository:
    """What the repository owner/name holds at a branch, tag or commit; without one, at the tip of its main branch.

    Hidden files are left out. Raises ModelNotFound when there is no such repository or revision, InvalidRequest for a
    revision that can be none, DownloadFailed when the hub does not tell, IntegrityError when it tells of another
    commit.
    """
    check_repository(repository)
    if revision is not None:
        check_revision(revision)
    question = Question(repository=repository, endpoint=open_hub(offline=offline), revision=revision or "main")
    headers = hub_headers() | {"accept-encoding": "identity"}

    def call() -> "ModelInfo":
        from huggingface_hub import HfApi

        api = HfApi(endpoint=question.endpoint, token=False, headers=headers)
        return api.model_info(repository, revision=revision, timeout=STEP_SECONDS, files_metadata=True)

    info = ask(call, question)
    commit = info.sha
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or info.siblings is None:
        raise unreadable(question)
    if revision is not None and COMMIT.fullmatch(revision) and revision != commit:
        raise IntegrityError(f"asked for commit {revision} of {repository}, the hub answers with {commit}")
    if len(info.siblings) > MOST_FILES:
        raise DownloadFailed(f"{repository} has {len(info.siblings)} files, of which at most {MOST_FILES} are read")
    files, refused = _files(info.siblings)
    return HubRepository(
        repository=repository,
        commit=commit,
        license=_license(info),
        is_gated=bool(info.gated),  # or "auto", or "manual"
        is_private=info.private is True,
        base_model=_base_model(info),
        files=files,
        refused=refused,
    )


def _files(siblings: Iterable[object]) -> tuple[tuple[HubFile, ...], tuple[str, ...]]:
    """The files that can be had, and the names of the others.

    Names that differ in case alone are one name on some disks, and a file cannot stand where a folder does: none of
    these is taken.
    """
    found: dict[HubFile, None] = {}
    refused: list[str] = []
    for sibling in siblings:
        name = getattr(sibling, "rfilename", None)
        file = _file(sibling)
        if file is not None:
            found[file] = None
        elif not (isinstance(name, str) and is_hidden(name)):
            refused.append(shown(str(name)))
    times = Counter(file.path.lower() for file in found)
    folders = {folder for file in found for folder in _folders(file.path.lower())}
    alone = [file for file in found if times[file.path.lower()] == 1 and file.path.lower() not in folders]
    refused += [file.path for file in found.keys() - set(alone)]
    return tuple(sorted(alone, key=lambda file: file.path)), tuple(sorted(refused))


def _file(sibling: object) -> HubFile | None:
    """None unless its path is safe and its size and a digest are known."""
    try:
        told = msgspec.convert(sibling, _Sibling, from_attributes=True)
    except (msgspec.ValidationError, UnicodeEncodeError):  # half a surrogate pair is no text
        return None
    if not is_path(told.rfilename):
        return None
    if told.lfs is not None:
        if told.size not in {None, told.lfs.size}:
            return None
        return HubFile(path=told.rfilename, size_bytes=told.lfs.size, sha256=Digest(told.lfs.sha256))
    if told.size is None or told.blob_id is None or not COMMIT.fullmatch(told.blob_id):
        return None
    return HubFile(path=told.rfilename, size_bytes=told.size, git_sha1=told.blob_id)


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _license(info: "ModelInfo") -> str:
    """From the card's front matter, or the tag that the hub makes of it."""
    card = info.card_data
    stated = getattr(card, "license", None)
    if stated == "other":
        stated = getattr(card, "license_name", None) or stated
    tags = info.tags if isinstance(info.tags, list) else []
    tagged = [tag[len("license:") :] for tag in tags if isinstance(tag, str) and tag.startswith("license:")]
    for text in (stated, *(stated if isinstance(stated, list) else ()), *tagged):
        if isinstance(text, str) and text.isprintable() and 0 < len(text) <= 100:
            return text
    return UNKNOWN_LICENSE


def _base_model(info: "ModelInfo") -> str:
    """The first that the card names; many name several after a merge."""
    stated = getattr(info.card_data, "base_model", None)
    for text in stated if isinstance(stated, list) else (stated,):
        if isinstance(text, str) and is_repository(text):
            return text
    return ""
