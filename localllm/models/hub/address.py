"""Where the bytes of a file are: asked for each time, since the hub signs such addresses for a while only."""

import re
from typing import TYPE_CHECKING

from localllm.errors import IntegrityError, InvalidRequest
from localllm.models.card import HubSource
from localllm.models.hub.ask import ask
from localllm.models.hub.naming import COMMIT, check_repository, is_path, shown
from localllm.models.hub.refusals import Question, unreadable
from localllm.models.hub.session import STEP_SECONDS, hub_headers, open_hub
from localllm.models.transfer.address import Location, follow, parse_address
from localllm.models.transfer.expected import Expected

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

_SHA256 = re.compile(r"[0-9a-f]{64}")


def locate(source: HubSource, expected: Expected, *, offline: bool = False) -> Location:
    """Where the bytes of a file are at its commit, and the headers to ask with.

    The token is among them only where that is on the hub's own host. Raises ModelNotFound or InvalidRequest for a
    source that can be none, DownloadFailed, and IntegrityError when the hub's file is another than the expected one.
    """
    check_repository(source.repository)
    if not COMMIT.fullmatch(source.revision) or not is_path(source.filename):
        raise InvalidRequest(f"{shown(source.filename)} at {shown(source.revision)} is no file at a commit of the hub")
    endpoint = open_hub(offline=offline)
    question = Question(repository=source.repository, endpoint=endpoint, revision=source.revision, path=source.filename)
    headers = hub_headers()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(source.repository, source.filename, revision=source.revision)

    def call() -> "HfFileMetadata":
        return get_hf_file_metadata(url, token=False, headers=headers, timeout=STEP_SECONDS)

    found = ask(call, question)
    if found.commit_hash is None:  # the hub always sends it; a login page or a proxy's error page does not
        raise unreadable(question)
    _check(found, source, expected)
    return _location(url, found.location, headers)


def _check(found: "HfFileMetadata", source: HubSource, expected: Expected) -> None:
    """Raises IntegrityError unless what the hub says of the file agrees with what is known of it."""
    name = source.filename
    if found.commit_hash != source.revision:
        told = shown(found.commit_hash or "")
        raise IntegrityError(f"asked for {name} at commit {source.revision}, the hub answers with commit {told}")
    if found.size is not None and found.size != expected.size_bytes:
        raise IntegrityError(f"the hub's {name} has {found.size} bytes, {expected.size_bytes} were expected")
    etag = found.etag or ""
    for pattern, kind, digest in ((_SHA256, "SHA-256", expected.sha256), (COMMIT, "git SHA-1", expected.git_sha1)):
        if digest is not None and pattern.fullmatch(etag) and etag != digest:
            raise IntegrityError(f"the hub's {name} has {kind} {etag}, {digest} was expected")


def _location(url: str, location: str, headers: dict[str, str]) -> Location:
    """What the hub leads to, from `url` on. Raises DownloadFailed where we do not go."""
    start = parse_address(url)
    end = follow(start, location)
    if end.origin == start.origin:
        return Location(url=end.url, headers=headers)
    return Location(url=end.url, headers={name: text for name, text in headers.items() if name != "authorization"})
