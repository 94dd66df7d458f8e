"""The guard around every route: who may ask, and from where.

A web page in the user's browser can send requests to 127.0.0.1 (cross-site request forgery), or make its own
name point there (DNS rebinding). So a foreign `Origin` is refused, and without an API key so is every `Host`
that is not this machine's own name. Whose key came is known further in by `client_of`.
"""

import ipaddress
import re

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from localllm.api.clients import Clients
from localllm.api.errors import HttpError
from localllm.types import Client

PUBLIC_PATHS = frozenset({"/health"})
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?")


class Guard:
    """ASGI middleware. Where the clients have no keys, loopback names alone protect."""

    def __init__(self, app: ASGIApp, *, clients: Clients, host: str) -> None:
        self._app = app
        self._clients = clients
        self._own_names = {"localhost", host.strip("[]").lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "http":
            try:
                client = self._admit(scope["path"], scope["method"], Headers(scope=scope))
            except HttpError as error:
                await error.response()(scope, receive, send)
                return
            scope.setdefault("state", {})["client"] = client
        await self._app(scope, receive, send)

    def _admit(self, path: str, method: str, headers: Headers) -> Client:
        """For whom the request is done. Raises HttpError."""
        if not self._clients.have_keys:
            self._check_host(headers)
        self._check_origin(headers)
        is_open = path in PUBLIC_PATHS or not self._clients.have_keys
        client = Client() if is_open else self._by_key(headers)
        if method == "POST":
            _check_media_type(headers)
        return client

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            raise HttpError(421, "wrong_host", f"this server answers to localhost, not to {', '.join(hosts)[:100]!r}")

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin.partition("://")[2]):
            raise HttpError(403, "foreign_origin", f"web pages of {origin[:100]!r} may not use this server")
        if headers.get("sec-fetch-site") == "cross-site":
            raise HttpError(403, "foreign_origin", "web pages of other sites may not use this server")

    def _by_key(self, headers: Headers) -> Client:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        sent = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        client = self._clients.find(sent.encode("latin-1", "replace"))  # headers are latin-1 by specification
        if client is None:
            raise HttpError(401, "invalid_api_key", "send the server's API key as: Authorization: Bearer <key>")
        return client

    def _is_own(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None or not 0 < int(match["port"] or 1) < 65536:
            return False
        name = match["name"].strip("[]").lower().removesuffix(".")
        return name in self._own_names or _is_loopback(name)


def client_of(request: Request) -> Client:
    """For whom the request is done, which the guard has found out."""
    client = request.state.client
    return client if isinstance(client, Client) else Client()


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach an address."""
    return host.lower() == "localhost" or _is_loopback(host.strip("[]"))


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _check_media_type(headers: Headers) -> None:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HttpError(415, "wrong_media_type", "send the body as JSON, with Content-Type: application/json")
    if headers.get("content-encoding", "identity") != "identity":
        raise HttpError(415, "wrong_encoding", "send the body without Content-Encoding")
