"""Fetch a file from the Hugging Face Hub: metadata through huggingface_hub, bytes by ranges into a part file.

huggingface_hub itself neither resumes after a kill nor checks SHA-256.
"""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx2

from localllm.config import silence_hub_telemetry
from localllm.errors import DownloadFailed, IntegrityError
from localllm.models.card import Artifact, HubSource
from localllm.models.part import PartFile

METADATA_SECONDS = 10.0
STALL_SECONDS = 30.0
ATTEMPTS = 4
CHUNK_BYTES = 1 << 18
_SHA256 = re.compile(r"[0-9a-f]{64}")

OnBytes = Callable[[int], None]


def fetch_from_hub(source: HubSource, artifact: Artifact, part: PartFile, on_bytes: OnBytes) -> None:
    """Complete `part` from the hub. `on_bytes` is told how many bytes are there. Raises DownloadFailed or
    IntegrityError."""
    failure = ""
    for _ in range(ATTEMPTS):
        before = part.size_bytes
        try:
            _fetch_rest(*_locate(source, artifact), part, on_bytes)
            return
        except httpx2.HTTPError as error:
            failure = f"{type(error).__name__}: {error}"
            if part.size_bytes == before:
                break  # no progress: the hub is out of reach, so try the next source
    raise DownloadFailed(f"the hub repository {source.repository} cannot be reached ({failure})")


def _locate(source: HubSource, artifact: Artifact) -> tuple[str, dict[str, str]]:
    """Address of the bytes, and the headers to ask with: the token goes to the hub's own host alone."""
    silence_hub_telemetry()
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    url = hf_hub_url(source.repository, source.filename, revision=source.revision)
    try:
        found = get_hf_file_metadata(url, timeout=METADATA_SECONDS)
    except HfHubHTTPError as error:
        raise DownloadFailed(f"the hub refuses {source.repository}/{source.filename}: {error}") from error
    if found.size is not None and found.size != artifact.size_bytes:
        raise IntegrityError(f"the hub's file has {found.size} bytes, the model card says {artifact.size_bytes}")
    if found.etag and _SHA256.fullmatch(found.etag) and found.etag != artifact.sha256:
        raise IntegrityError(f"the hub's file has SHA-256 {found.etag}, the model card says {artifact.sha256}")
    location = found.location or url
    token = get_token()
    is_hub = urlsplit(location).netloc == urlsplit(url).netloc
    return location, {"Authorization": f"Bearer {token}"} if token and is_hub else {}


def _fetch_rest(url: str, headers: dict[str, str], part: PartFile, on_bytes: OnBytes) -> None:
    start = part.size_bytes
    asked = {**headers, "Accept-Encoding": "identity"}
    if start:
        asked["Range"] = f"bytes={start}-"
    timeout = httpx2.Timeout(STALL_SECONDS)
    with httpx2.stream("GET", url, headers=asked, timeout=timeout, follow_redirects=True) as response:
        if response.status_code == 416:  # nothing follows what we have; `finish` judges it
            part.finish()
            return
        response.raise_for_status()
        if start and not _continues(response, start):
            part.restart()
        for chunk in response.iter_raw(CHUNK_BYTES):
            part.write(chunk)
            on_bytes(part.size_bytes)
    part.finish()


def _continues(response: httpx2.Response, start: int) -> bool:
    """Whether the answer begins where we left off; a server may ignore the range and send everything."""
    wanted = f"bytes {start}-"
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(wanted)
