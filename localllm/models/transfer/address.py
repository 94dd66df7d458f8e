"""Addresses that bytes may come from, and where a redirect may lead."""

import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote, urljoin, urlsplit

from msgspec import Struct

from localllm import __version__
from localllm.errors import DownloadFailed

_PORTS = {"http": 80, "https": 443}
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_KEPT = "".join(map(chr, range(0x21, 0x7F)))  # in a URL; anything beyond ASCII is percent-encoded


class Location(Struct, frozen=True, kw_only=True):
    """Where bytes are, and the headers to ask with; these go to that scheme, host and port alone."""

    url: str
    headers: dict[str, str] = {}


class Address(Struct, frozen=True, kw_only=True):
    """An HTTP or HTTPS address in its parts."""

    scheme: str
    host: str
    port: int
    target: str  # path and query

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection can be used for, and who may see the headers."""
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        """In one piece; it may hold a signature, so no message shows it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"


def parse_address(url: str) -> Address:
    """The address that `url` means. Raises DownloadFailed for anything but a plain HTTP or HTTPS one."""
    if _UNPRINTABLE.search(url):
        raise DownloadFailed("the address of the file has a space or a control character in it; it is not asked")
    try:
        parts = urlsplit(quote(url, safe=_KEPT))
        scheme, host, port = parts.scheme, (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise DownloadFailed(f"the address of the file cannot be read ({error}); it is not asked") from error
    if scheme not in _PORTS:
        raise DownloadFailed(f"the address of the file is {scheme or 'without a scheme'}:, not http: or https:")
    if not host or parts.username is not None:
        raise DownloadFailed("the address of the file has no host, or a password in it; it is not asked")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(scheme=scheme, host=host, port=port or _PORTS[scheme], target=target)


def follow(address: Address, location: str | None) -> Address:
    """Where a redirect from `address` leads. Raises DownloadFailed where we do not go."""
    if not location:
        raise DownloadFailed(f"{address.host} redirects without saying where to")
    with suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")  # http.client reads headers as the former
    try:
        url = urljoin(address.url, location)
    except ValueError as error:
        raise DownloadFailed(f"{address.host} redirects to an address that cannot be read ({error})") from error
    if _UNPRINTABLE.search(location):  # urljoin would drop some of them
        url = location
    found = parse_address(url)
    if address.scheme == "https" and found.scheme != "https":
        raise DownloadFailed(f"{address.host} redirects to an unencrypted address; it is not asked")
    return found


def headers_for(headers: Mapping[str, str], is_first_origin: bool) -> dict[str, str]:
    """What to send: elsewhere than to the first origin nothing but who we are."""
    kept = {name: value for name, value in headers.items() if is_first_origin or name.strip().lower() == "user-agent"}
    for name in [name for name in kept if name.strip().lower() in {"range", "accept-encoding", "host", "if-range"}]:
        del kept[name]
    if not any(name.strip().lower() == "user-agent" for name in kept):
        kept["User-Agent"] = f"localllm/{__version__}"
    return kept | {"Accept-Encoding": "identity"}
