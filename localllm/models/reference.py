"""References: what a user types for a model, on the command line, in a request or in the config file.

echo:TEXT                                   the echo engine
smollm2:135m  qwen3:1.7b-q8_0  smollm2      a card, with its tag (size, quant), a stored model, or an alias
org/repo  org/repo:Q4_K_M                   a repository of the hub, and which quant of it
org/repo@revision/folder/file.gguf          one file of it, at a branch, tag or commit
hf.co/org/repo  https://huggingface.co/…    the same, also as the hub's pages are addressed; hf:// too
./model.gguf  ~/models/x.pte  checkpoint/   a path
"""

import re
from pathlib import Path
from urllib.parse import unquote

from msgspec import Struct

from localllm.errors import InvalidRequest, ModelNotFound
from localllm.models.hub.naming import check_revision, is_path, is_repository
from localllm.models.names import is_model_name
from localllm.models.quant import quant_of

ECHO = "echo"
MODEL_SUFFIXES = (".gguf", ".pte")
_PATH_BEGINNING = re.compile(r"[./~\\]|[A-Za-z]:[\\/]")
_HUB_PREFIX = re.compile(r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/|hf://", re.IGNORECASE)
_REPOSITORY = r"(?P<repository>[^/:@]+/[^/:@]+)"
_REVISION = r"(?P<revision>refs/(?:pr|convert)/[^/:]+|[^/:]+)"  # of the hub's own refs, and of those without a slash
_HUB = re.compile(rf"{_REPOSITORY}(?:@{_REVISION})?(?::(?P<tag>[^/:@]+)|/(?P<path>.+))?")
_PAGE = re.compile(rf"{_REPOSITORY}/(?P<page>resolve|blob|raw|tree)/{_REVISION}(?:/(?P<path>.+))?")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_NOT_MODELS = ("datasets/", "spaces/")  # what else the hub has


class EchoReference(Struct, frozen=True, kw_only=True):
    """The echo engine, which says what it was told."""

    text: str


class PathReference(Struct, frozen=True, kw_only=True):
    """A file or folder of this machine."""

    path: str


class NameReference(Struct, frozen=True, kw_only=True):
    """A card, a stored model, or an alias."""

    name: str


class HubReference(Struct, frozen=True, kw_only=True):
    """A repository of the hub, or a part of it."""

    repository: str
    revision: str | None = None  # branch, tag or commit; None: the main branch, whose updates are followed
    quant: str | None = None
    path: str | None = None  # of one file in it


Reference = EchoReference | PathReference | NameReference | HubReference


def parse(text: str) -> Reference:
    """What a user's text means. Raises ModelNotFound for what means nothing.

    What is on this disk wins: `org/repo` is a path where there is such a folder here. A text without a slash is a path
    only by its ending, so that no file here can stand in the place of a model that is called like it.
    """
    if text.partition(":")[0] == ECHO:
        return EchoReference(text=text)
    prefix = _HUB_PREFIX.match(text)
    if prefix is not None:
        return _hub(text[prefix.end() :], text)
    if "://" in text:
        raise ModelNotFound(
            f"{text[:200]!r} is no address of the hub (huggingface.co, hf.co); download the file and name its path",
            param="model",
        )
    if _is_path(text):
        return PathReference(path=text)
    return _hub(text, text) if "/" in text else NameReference(name=text)


def shown(text: object, most_characters: int = 300) -> str:
    """Any text or path on one line of a terminal: cut, and with what cannot be printed escaped."""
    whole = str(text)
    cut = whole if len(whole) <= most_characters else f"{whole[:most_characters]}…"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in cut)


def _is_path(text: str) -> bool:
    if "\\" in text or _PATH_BEGINNING.match(text):  # no name and no repository has such
        return True
    is_called_model = text.lower().endswith(MODEL_SUFFIXES)
    if "/" not in text:
        return is_called_model
    # org/file.gguf is too short for a file of a repository
    return _exists(text) or (is_called_model and text.count("/") == 1 and not {":", "@"} & set(text))


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def _hub(rest: str, text: str) -> HubReference:
    """What stands behind the hub's address, or in its place. Percent-encoded as in addresses."""
    rest = rest.partition("?")[0].partition("#")[0].strip("/")
    match = None if rest.startswith(_NOT_MODELS) else _PAGE.fullmatch(rest) or _HUB.fullmatch(rest)
    found = {name: unquote(part) for name, part in match.groupdict().items() if part} if match else {}
    repository, tag, path = found.get("repository", ""), found.get("tag"), found.get("path")
    if not (is_repository(repository) and is_model_name(f"{repository}:tag")) or not _TAG.fullmatch(tag or "tag"):
        raise ModelNotFound(
            f"{text[:200]!r} names no model; a repository of the hub looks like org/repo, org/repo:Q4_K_M "
            "or org/repo@revision/file.gguf",
            param="model",
        )
    if tag is not None and tag.lower().endswith(MODEL_SUFFIXES):
        tag, path = None, tag
    if path is not None and not is_path(path):
        raise ModelNotFound(f"{path[:200]!r} is no path of a file that can be pulled from a repository", param="model")
    if path is not None and found.get("page") == "tree" and not path.lower().endswith(MODEL_SUFFIXES):
        tag, path = quant_of(path), None  # a folder of one quant's parts
        if tag is None:
            raise ModelNotFound(f"{text[:200]!r} is a folder; name a file in it, or the repository", param="model")
    return HubReference(repository=repository, revision=_revision(found.get("revision")), quant=tag, path=path)


def _revision(text: str | None) -> str | None:
    """It, checked. Raises ModelNotFound."""
    try:
        if text is not None:
            check_revision(text)
    except InvalidRequest as error:
        raise ModelNotFound(error.message, param="model") from error
    return text
