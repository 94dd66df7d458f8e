"""Names that go into a question to the hub, or come back in an answer: checked before anything is done with them."""

import re

from localllm.errors import InvalidRequest, ModelNotFound
from localllm.models.digest import is_plain

COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_REPOSITORY_CHARACTERS = 96  # huggingface_hub, `validate_repo_id`
_MOST_PATH_CHARACTERS = 400
_OWNER_OR_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_REVISION = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*){0,7}"
)  # of git's, the plain ones
_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")  # that a card or a manifest can name, too


def is_repository(text: str) -> bool:
    """Whether `text` is owner/name as the hub allows them."""
    parts = text.split("/")
    return (
        len(parts) == 2
        and len(text) <= _MOST_REPOSITORY_CHARACTERS
        and all(_OWNER_OR_NAME.fullmatch(part) and is_plain(part) for part in parts)
        and not any(bad in text for bad in ("--", ".."))
        and not text.endswith(".git")
    )


def check_repository(text: str) -> None:
    """Raises ModelNotFound unless `text` is owner/name."""
    if not is_repository(text):
        raise ModelNotFound(
            f"{text[:100]!r} is no repository of the hub; one looks like HuggingFaceTB/SmolLM2-135M-Instruct",
            param="model",
        )


def check_revision(text: str) -> None:
    """Raises InvalidRequest unless `text` can be a branch, a tag or a commit."""
    if not _REVISION.fullmatch(text) or len(text) > 200 or ".." in text:
        raise InvalidRequest(
            f"{text[:100]!r} is no revision; name a branch, a tag or the 40 digits of a commit", param="revision"
        )


def is_path(text: str) -> bool:
    """Whether `text`, a file's path in a repository, is safe to write below a folder on every platform.

    It stays in that folder, opens no device, and reads the same everywhere: ASCII without blanks.
    """
    return len(text) <= _MOST_PATH_CHARACTERS and all(
        _PATH_PART.fullmatch(part) and is_plain(part) for part in text.split("/")
    )


def is_hidden(text: str) -> bool:
    """Whether a file or a folder on the path begins with a dot, as .gitattributes does."""
    return any(part.startswith(".") and part.strip(".") for part in text.split("/"))


def shown(text: str) -> str:
    """Any text of a stranger's, fit for a terminal: printable ASCII, not long."""
    return ascii(text[:100])[1:-1]
