"""The HTTP client that huggingface_hub asks with: the token for the hub's own host alone, and answers of bounded size.

huggingface_hub forwards the token to huggingface.co wherever HF_ENDPOINT points, reads answers of any length, and
prints what a server wants to warn of.
"""

import functools
import time
from collections.abc import Iterator

import httpx2

from localllm import __version__
from localllm.config import silence_hub_telemetry
from localllm.errors import DownloadFailed
from localllm.models.hub.refusals import CHECK_SETTINGS, one_line

STEP_SECONDS = 10.0  # to connect, and between two pieces of an answer
ANSWER_SECONDS = 30.0  # for an answer as a whole
MOST_ANSWER_BYTES = 64 * 2**20
_COMPRESSED = ("gzip", "deflate", "br", "zstd")  # what httpx2 would unpack, to any size


def open_hub(*, offline: bool) -> str:
    """The hub's address, once it is certain that it may be asked.

    Raises DownloadFailed in offline mode, before any socket is opened, and for settings that cannot work.
    """
    if offline:
        raise DownloadFailed("offline mode forbids asking the hub; leave out --offline")
    silence_hub_telemetry()
    try:
        from huggingface_hub import constants, is_offline_mode
    except ValueError as error:  # HF_ENDPOINT=http://[
        raise DownloadFailed(f"cannot ask the hub ({one_line(error)}); {CHECK_SETTINGS}") from error
    if is_offline_mode():
        raise DownloadFailed("offline mode forbids asking the hub; unset HF_HUB_OFFLINE")
    _install()
    return str(constants.ENDPOINT)


def hub_headers() -> dict[str, str]:
    """Who asks, and the user's token if there is one. Raises DownloadFailed for a token that cannot be sent."""
    from huggingface_hub.errors import DeviceCodeError, OIDCError
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, not in its __all__

    try:
        headers: dict[str, str] = build_hf_headers(library_name="localllm", library_version=__version__)
    except (OSError, ValueError, httpx2.HTTPError, OIDCError, DeviceCodeError) as error:
        raise DownloadFailed(f"cannot get a token for the hub ({one_line(error)}); {CHECK_SETTINGS}") from error
    token = headers.get("authorization", "")
    if not (token.isascii() and token.isprintable()):  # said by others, the words would hold it
        raise DownloadFailed("cannot ask the hub: the token holds characters that none has; check HF_TOKEN")
    return headers


def is_own_host(url: str, endpoint: str) -> bool:
    """Whether scheme, host and port of `url` are the hub's, as the client that fetches it understands them."""
    return httpx2.URL(url).origin == httpx2.URL(endpoint).origin


def check_scheme(url: str, endpoint: str) -> None:
    """Raises DownloadFailed for an address that is none of the web, or less private than the hub's own."""
    scheme = httpx2.URL(url).scheme
    if scheme not in {"http", "https"} or (scheme == "http" and httpx2.URL(endpoint).scheme == "https"):
        raise DownloadFailed(f"the hub leads to an address that is not encrypted ({scheme}:); nothing was fetched")


@functools.cache
def _install() -> None:
    from huggingface_hub import constants, set_client_factory

    constants.HF_HUB_DISABLE_TELEMETRY = True  # whoever imported it first
    set_client_factory(_new_client)


def _new_client() -> httpx2.Client:
    return httpx2.Client(
        event_hooks={"request": [_check_request], "response": [_bound_response]},
        follow_redirects=True,
        timeout=STEP_SECONDS,
    )


def _check_request(request: httpx2.Request) -> None:
    """Of every request, those that follow a redirect included."""
    from huggingface_hub import constants, is_offline_mode
    from huggingface_hub.errors import OfflineModeIsEnabled

    if is_offline_mode():
        raise OfflineModeIsEnabled("offline mode is enabled by HF_HUB_OFFLINE")
    check_scheme(str(request.url), constants.ENDPOINT)
    if not is_own_host(str(request.url), constants.ENDPOINT):
        request.headers.pop("authorization", None)


def _bound_response(response: httpx2.Response) -> None:
    response.headers.pop("x-hf-warning", None)  # huggingface_hub would print it
    encoding = response.headers.get("content-encoding", "").lower()
    if response.request.method != "HEAD" and any(name in encoding for name in _COMPRESSED):
        raise httpx2.RemoteProtocolError("the answer is compressed, which was not asked for")
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _BoundedStream(response.stream)


class _BoundedStream(httpx2.SyncByteStream):
    """An answer's body, which breaks off when it becomes too long, in bytes or in seconds."""

    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream
        self._deadline = time.monotonic() + ANSWER_SECONDS

    def __iter__(self) -> Iterator[bytes]:
        size_bytes = 0
        for chunk in self._stream:
            size_bytes += len(chunk)
            if size_bytes > MOST_ANSWER_BYTES:
                raise DownloadFailed(f"the hub answers with more than {MOST_ANSWER_BYTES} bytes; nothing was taken")
            if time.monotonic() > self._deadline:
                raise httpx2.ReadTimeout(f"the answer is not complete after {ANSWER_SECONDS:.0f} s")
            yield chunk

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()
