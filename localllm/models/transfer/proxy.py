"""The proxy that the environment or the system names for an address."""

import base64
import urllib.request
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from localllm.errors import DownloadFailed
from localllm.models.transfer.address import Address


class Proxy(Struct, frozen=True, kw_only=True):
    """An HTTP proxy."""

    host: str
    port: int
    headers: dict[str, str]  # for the proxy alone


def proxy_for(address: Address) -> Proxy | None:
    """The proxy to ask (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY), or None. Raises DownloadFailed."""
    proxies = urllib.request.getproxies()
    text = proxies.get(address.scheme) or proxies.get("all")
    host = f"[{address.host}]" if ":" in address.host else address.host
    if not text or urllib.request.proxy_bypass(f"{host}:{address.port}"):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port or 80
    except ValueError as error:
        raise DownloadFailed(f"the proxy in the environment cannot be read ({error}); mend HTTPS_PROXY") from error
    if parts.scheme != "http" or not host:
        raise DownloadFailed(
            f"the proxy in the environment is {parts.scheme}://, files are fetched through http:// ones alone; "
            "set HTTPS_PROXY to such a one, or NO_PROXY to the host"
        )
    headers = {}
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    return Proxy(host=host, port=port, headers=headers)
