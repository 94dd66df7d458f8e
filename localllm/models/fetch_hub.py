"""Fetch a file from the Hugging Face Hub: metadata through huggingface_hub, bytes by ranges into a part file.

huggingface_hub itself neither resumes after a kill nor checks SHA-256.
"""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx2

from localllm import __version__
from localllm.config import silence_hub_telemetry
from localllm.errors import DownloadFailed, IntegrityError
from localllm.models.card import Artifact, HubSource
from localllm.models.part import PartFile

METADATA_SECONDS = 10.0
STALL_SECONDS = 30.0
_SHA256 = re.compile(r"[0-9a-f]{64}")

OnBytes = Callable[[int], None]


def fetch_from_hub(source: HubSource, artifact: Artifact, part: PartFile, on_bytes: OnBytes) -> None:
    """Complete `part` from the hub, asking again for the rest as long as that brings more.

    `on_bytes` is told how many bytes are there. Raises DownloadFailed or IntegrityError.
    """
    has_leftover = part.size_bytes > 0
    while True:
        before = part.size_bytes
        try:
            _fetch_once(source, artifact, part, on_bytes)
            return
        except IntegrityError:
            if not has_leftover or part.size_bytes:
                raise
            has_leftover = False  # an earlier attempt's bytes may be to blame: they are gone now, so once more
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            if part.size_bytes <= before:  # out of reach: try the next source
                raise DownloadFailed(f"the hub cannot deliver {source.filename}: {_words(error)}") from error


def _fetch_once(source: HubSource, artifact: Artifact, part: PartFile, on_bytes: OnBytes) -> None:
    url, headers = _locate(source, artifact)
    start = part.size_bytes
    if start:
        headers["Range"] = f"bytes={start}-"
    timeout = httpx2.Timeout(STALL_SECONDS)
    with httpx2.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
        if start:
            _take_up(response, start, part)
        response.raise_for_status()
        for chunk in response.iter_raw():  # as they come: what waits for a full chunk would be lost by a kill
            part.write(chunk)
            on_bytes(part.size_bytes)
    if not part.is_full:
        raise httpx2.RemoteProtocolError(f"it ended after {part.size_bytes} of {artifact.size_bytes} bytes")
    part.finish()


def _locate(source: HubSource, artifact: Artifact) -> tuple[str, dict[str, str]]:
    """Address of the bytes, and the headers to ask with. Raises DownloadFailed or IntegrityError."""
    try:
        return _ask(source, artifact)
    except (ImportError, OSError, ValueError) as error:  # a SOCKS proxy; no such certificate; a token with an ö in it
        raise DownloadFailed(
            f"cannot ask the hub ({' '.join(str(error).split())}); "
            "check the proxy, SSL_CERT_FILE, HF_TOKEN and HF_ENDPOINT in the environment"
        ) from error


def _ask(source: HubSource, artifact: Artifact) -> tuple[str, dict[str, str]]:
    """What `_locate` returns: the token goes to the hub's own host alone."""
    silence_hub_telemetry()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, OIDCError
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, not in its __all__

    url = hf_hub_url(source.repository, source.filename, revision=source.revision)
    try:
        headers = build_hf_headers(library_name="localllm", library_version=__version__)
        found = get_hf_file_metadata(url, headers=headers, timeout=METADATA_SECONDS)
    except (OfflineModeIsEnabled, OIDCError) as error:
        raise DownloadFailed(" ".join(str(error).split())) from error
    except HfHubHTTPError as error:
        raise DownloadFailed(_refusal(error.response, source)) from error
    if found.commit_hash is None:  # the hub always sends it; a login page or a proxy's error page does not
        raise DownloadFailed(f"what answers at {urlsplit(url).netloc} is no Hugging Face hub; check the connection")
    if found.size is not None and found.size != artifact.size_bytes:
        raise IntegrityError(f"the hub's file has {found.size} bytes, the model card says {artifact.size_bytes}")
    if found.etag and _SHA256.fullmatch(found.etag) and found.etag != artifact.sha256:
        raise IntegrityError(f"the hub's file has SHA-256 {found.etag}, the model card says {artifact.sha256}")
    location = found.location or url
    if urlsplit(location)[:2] != urlsplit(url)[:2]:  # scheme and host: not over plain HTTP either
        headers.pop("authorization", None)
    return location, headers | {"accept-encoding": "identity"}


def _refusal(response: httpx2.Response, source: HubSource) -> str:
    """Why the hub refuses, and what to do about it (huggingface_hub, `hf_raise_for_status`)."""
    kind = response.headers.get("X-Error-Code")
    if kind == "GatedRepo":
        return f"{source.repository} is gated: accept its terms on its page, then set HF_TOKEN to your token"
    if kind in {"EntryNotFound", "RevisionNotFound"}:
        return f"{source.repository} has no file {source.filename} at revision {source.revision}"
    if kind == "RepoNotFound" or response.status_code == 404:
        return f"there is no {source.repository}, or it is private: set HF_TOKEN to a token that may read it"
    if response.status_code in {401, 403} and "authorization" in response.request.headers:
        return f"the hub refuses the token it was sent ({response.status_code}); check HF_TOKEN"
    advice = "; if it wants a token, set HF_TOKEN" if response.status_code in {401, 403} else ""
    return f"the hub answers {response.status_code} {response.reason_phrase}{advice}"


def _take_up(response: httpx2.Response, start: int, part: PartFile) -> None:
    """Make `part` ready for an answer to "from `start` on"; a server may ignore that and send everything.

    Raises IntegrityError, with the part emptied, when the answer cannot be joined to what is there.
    """
    answered = response.headers.get("Content-Range", "")
    if response.status_code == 200:
        part.restart()
    elif response.status_code == 416 or (response.status_code == 206 and not answered.startswith(f"bytes {start}-")):
        part.restart()
        raise IntegrityError(f"asked for the bytes from {start} on, the hub answered {answered or 'without a range'}")


def _words(error: httpx2.HTTPError | httpx2.InvalidURL) -> str:
    if isinstance(error, httpx2.HTTPStatusError):
        return f"it answers {error.response.status_code} {error.response.reason_phrase}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
