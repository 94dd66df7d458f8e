"""A small Hugging Face hub and package index on loopback, with faults on demand; it keeps what it was asked.

Files in LFS are redirected to another host, as the real hub does: `localhost` against 127.0.0.1.
"""

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

CHUNK_BYTES = 16_384
HOLD_SECONDS = 60.0  # after which a held answer is given up, lest a failing test hangs


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    host: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Faults:
    """What goes wrong; by default nothing."""

    head_status: int = 0
    get_status: int = 0
    error_code: str = ""
    size: int | None = None  # that the hub says the file has
    sha256: str | None = None  # likewise
    is_in_lfs: bool = True
    redirects_get: bool = False  # of a file that is not in LFS: only the GET leads elsewhere
    is_login_page: bool = False
    body: bytes | None = None  # sent in place of the file
    ignores_range: bool = False
    range_offset: int = 0  # so far behind the asked range begins the one that is sent
    has_length: bool = True
    cuts: list[int] = field(default_factory=list)  # for each GET in turn: bytes after which the connection breaks
    hold_after: int | None = None  # bytes after which nothing comes until `release`


class Hub:
    """One server; `files` by repository and name, `wheels` by file name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.wheels: dict[str, bytes] = {}
        self.faults = Faults()
        self.log: list[Asked] = []
        self._released = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))  # listens from here on: nobody needs to wait for it
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        app = Starlette(
            routes=[
                Route("/{owner}/{name}/resolve/{revision}/{path:path}", self._resolve),
                Route("/cdn/{key:path}", self._cdn),
                Route("/simple/{package}/", self._index),
                Route("/wheels/{file}", self._wheel),
                Route("/{path:path}", self._nothing),
            ]
        )
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", loop="asyncio", ws="none"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def reset(self) -> None:
        """Begin anew: no files, no faults, nothing asked; answers that are still held end."""
        self.release()
        self._released = threading.Event()
        self.files, self.wheels, self.faults, self.log = {}, {}, Faults(), []

    def release(self) -> None:
        """Let held answers go on."""
        self._released.set()

    def gets(self) -> list[Asked]:
        """The requests for bytes."""
        return [asked for asked in self.log if asked.method == "GET"]

    def _note(self, request: Request) -> None:
        headers = request.headers
        host = headers["host"].partition(":")[0]
        self.log.append(
            Asked(request.method, host, request.url.path, headers.get("range"), headers.get("authorization"))
        )

    async def _nothing(self, request: Request) -> Response:
        self._note(request)
        return Response(status_code=404)

    async def _resolve(self, request: Request) -> Response:
        self._note(request)
        part = request.path_params
        key = f"{part['owner']}/{part['name']}/{part['path']}"
        faults = self.faults
        if faults.is_login_page:
            return RedirectResponse(f"http://localhost:{self.port}/cdn/login", 302)
        status = faults.head_status or (404 if key not in self.files else 0)
        if status:
            return Response(status_code=status, headers={"X-Error-Code": faults.error_code or "EntryNotFound"})
        data = self.files[key]
        size = len(data) if faults.size is None else faults.size
        headers = {"X-Repo-Commit": part["revision"], "ETag": '"0123456789012345678901234567890123456789"'}
        elsewhere = f"http://localhost:{self.port}/cdn/{key}?signature=abc"
        if faults.is_in_lfs:
            sha256 = faults.sha256 or hashlib.sha256(data).hexdigest()
            headers |= {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{sha256}"', "Location": elsewhere}
            return Response(status_code=302, headers=headers)
        if request.method == "HEAD":
            return Response(headers=headers | {"Content-Length": str(size)})
        return RedirectResponse(elsewhere, 302) if faults.redirects_get else self._send(request, data)

    async def _cdn(self, request: Request) -> Response:
        self._note(request)
        if self.faults.is_login_page:
            return HTMLResponse("<html>Please log in</html>")
        return self._send(request, self.files[request.path_params["key"]])

    async def _index(self, request: Request) -> Response:
        self._note(request)
        links = [f'<a href="/wheels/{name}">{name}</a>' for name in self.wheels]
        return HTMLResponse(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")

    async def _wheel(self, request: Request) -> Response:
        self._note(request)
        return self._send(request, self.wheels[request.path_params["file"]])

    def _send(self, request: Request, data: bytes) -> Response:
        faults = self.faults
        if faults.get_status:
            return Response(status_code=faults.get_status)
        data = data if faults.body is None else faults.body
        asked = request.headers.get("range")
        start, status, headers = 0, 200, {}
        if asked and not faults.ignores_range:
            start = int(asked.removeprefix("bytes=").partition("-")[0]) + faults.range_offset
            if start >= len(data):
                return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
            status, headers = 206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        if faults.has_length:
            headers["Content-Length"] = str(len(data) - start)
        cut = faults.cuts.pop(0) if faults.cuts else None
        return StreamingResponse(self._body(data[start:], cut), status_code=status, headers=headers)

    def _body(self, data: bytes, cut: int | None) -> Iterator[bytes]:
        """The bytes; Starlette runs this in a thread, so it may block."""
        hold, released = self.faults.hold_after, self._released
        first = min(place for place in (cut, hold, len(data)) if place is not None)
        for start in range(0, first, CHUNK_BYTES):
            yield data[start : min(start + CHUNK_BYTES, first)]
        if cut == first:
            raise ConnectionResetError("cut on purpose")
        if hold == first:
            released.wait(HOLD_SECONDS)
        yield data[first:]
