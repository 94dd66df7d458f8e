"""A small Hugging Face hub and package index on loopback, with faults on demand; it keeps what it was asked.

Files in LFS are redirected to another host, as the real hub does: `localhost` against 127.0.0.1.
"""

import json
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.models.hub_contents import Json, Repository, git_sha1, is_in_lfs, sha256

CHUNK_BYTES = 16_384
LARGE_CHUNK_BYTES = 1 << 18  # of answers that nothing goes wrong with
GOOD_TOKEN = "our-secret"
HOLD_SECONDS = 60.0  # after which a held answer is given up, lest a failing test hangs
GRACE_SECONDS = 5  # that the end waits for answers


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    host: str
    path: str
    range: str | None
    token: str | None
    query: str = ""
    if_range: str | None = None


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
    statuses: list[int] = field(default_factory=list)  # refuse so many requests in turn, whatever they ask; 0: none
    retry_after: str = ""  # sent with these
    commit: str = ""  # that the hub says a file is of
    etag: str | None = None  # that the bytes are said to have; "": none
    info: bytes | None = None  # sent in place of what there is to say about a repository
    moved_to: str = ""  # where all questions about repositories and files are sent, by 307
    location: str = ""  # of every file in LFS
    encoding: str = ""  # that the answer about a repository is said to have
    warning: str = ""  # that comes with it
    drip: tuple[int, float] | None = None  # bytes, and the seconds before each so many


class Hub:
    """One server; `files` by repository and name, `wheels` by file name; repositories with a history by `commit`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.wheels: dict[str, bytes] = {}
        self.repositories: dict[str, Repository] = {}
        self.moved_repositories: dict[str, str] = {}  # old name to new one
        self.tokens: set[str] = {GOOD_TOKEN}
        self.accepted: set[str] = set()  # gated repositories whose terms the owners of `tokens` have accepted
        self.faults = Faults()
        self.log: list[Asked] = []
        self._blobs: dict[str, bytes] = {}
        self._released = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))  # listens from here on: nobody needs to wait for it
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a body waits 40 ms behind its head
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        app = Starlette(
            routes=[
                Route("/{owner}/{name}/resolve/{revision}/{path:path}", self._after(self._lead, self._resolve)),
                Route("/api/models/{owner}/{name}", self._after(self._lead, self._info)),
                Route("/api/models/{owner}/{name}/revision/{revision:path}", self._after(self._lead, self._info)),
                Route("/cdn/{key:path}", self._after(self._cdn)),
                Route("/simple/{package}/", self._after(self._index)),
                Route("/wheels/{file}", self._after(self._wheel)),
                Route("/{path:path}", self._after(self._nothing)),
            ]
        )
        config = uvicorn.Config(
            app,
            log_config=None,
            lifespan="off",
            loop="asyncio",
            ws="none",
            timeout_graceful_shutdown=GRACE_SECONDS,  # an answer that nobody reads to its end would be waited for
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.should_exit = True
        self._thread.join(2 * GRACE_SECONDS)
        self._socket.close()

    def reset(self) -> None:
        """Begin anew: no files, no faults, nothing asked; answers that are still held end."""
        self.release()
        self._released = threading.Event()
        self.files, self.wheels, self.faults, self.log = {}, {}, Faults(), []
        self.repositories, self.moved_repositories, self._blobs = {}, {}, {}
        self.tokens, self.accepted = {GOOD_TOKEN}, set()

    def release(self) -> None:
        """Let held answers go on."""
        self._released.set()

    def gets(self) -> list[Asked]:
        """The requests for bytes."""
        return [asked for asked in self.log if asked.method == "GET" and not asked.path.startswith("/api/")]

    def commit(
        self,
        name: str,
        files: dict[str, bytes],
        *,
        branch: str = "main",
        is_gated: bool = False,
        is_private: bool = False,
        card: dict[str, Json] | None = None,
    ) -> str:
        """Put these files, and nothing else, at the tip of a branch of owner/name; returns the commit's hash."""
        repository = self.repositories.setdefault(name, Repository(name))
        repository.is_gated, repository.is_private = is_gated, is_private
        if card is not None:
            repository.card = card
        self._blobs |= {sha256(data): data for path, data in files.items() if is_in_lfs(path)}
        return repository.add(files, branch)

    def _after(
        self, *steps: Callable[[Request], Awaitable[Response | None]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint: what was asked is kept, then the first of `steps` that has an answer gives it."""

        async def answer(request: Request) -> Response:
            response = self._note(request)
            for step in steps:
                response = response or await step(request)
            return response or Response(status_code=404)

        return answer

    async def _lead(self, request: Request) -> Response | None:
        """Away from here, if a fault wants that."""
        if self.faults.is_login_page:
            return RedirectResponse(f"http://localhost:{self.port}/cdn/login", 302)
        if self.faults.moved_to:
            return RedirectResponse(f"{self.faults.moved_to}{request.url.path}?{request.url.query}", 307)
        return None

    def _note(self, request: Request) -> Response | None:
        """Keep what was asked; the answer to it where a status is due."""
        headers = request.headers
        host = headers["host"].partition(":")[0]
        asked = Asked(
            request.method,
            host,
            request.url.path,
            headers.get("range"),
            headers.get("authorization"),
            request.url.query,
            headers.get("if-range"),
        )
        self.log.append(asked)
        faults = self.faults
        status = faults.statuses.pop(0) if faults.statuses else 0
        if not status:
            return None
        more = {"Retry-After": faults.retry_after} if faults.retry_after else {}
        return Response(status_code=status, headers={"X-Error-Code": faults.error_code} | more)

    async def _nothing(self, request: Request) -> Response:
        return Response(status_code=404)

    async def _info(self, request: Request) -> Response:
        """About a repository; the real hub tells about a gated one to everybody."""
        found = self._find(request)
        if isinstance(found, Response):
            return found
        repository, commit = found
        known = repository.describe(commit)
        if request.query_params.get("blobs", "").lower() != "true":
            known["siblings"] = [{"rfilename": path} for path in repository.commits[commit]]
        answer = json.dumps(known).encode() if self.faults.info is None else self.faults.info
        faults = self.faults
        more = {"Content-Encoding": faults.encoding} if faults.encoding else {}
        more |= {"X-HF-Warning": faults.warning} if faults.warning else {}
        return Response(answer, media_type="application/json", headers=more)

    def _find(self, request: Request, *, is_for_bytes: bool = False) -> tuple[Repository, str] | Response:
        """The repository and the commit that are asked about, as far as the one who asks may know."""
        part = request.path_params
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            return _refuse(401, "", "Invalid credentials in Authorization header")
        name = f"{part['owner']}/{part['name']}"
        if name in self.moved_repositories:
            path = request.url.path.replace(name, self.moved_repositories[name])
            return RedirectResponse(f"{path}?{request.url.query}", 307)
        repository = self.repositories.get(name)
        if repository is None or (repository.is_private and not token):
            return _refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        if is_for_bytes and repository.is_gated and not (token and repository.name in self.accepted):
            return _refuse(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        commit = repository.commit_of(part.get("revision", "main"))
        return _refuse(404, "RevisionNotFound", "Invalid rev id") if commit is None else (repository, commit)

    async def _resolve(self, request: Request) -> Response:
        part = request.path_params
        key = f"{part['owner']}/{part['name']}/{part['path']}"
        faults = self.faults
        if f"{part['owner']}/{part['name']}" in self.repositories and not faults.head_status:
            return self._resolve_in_history(request)
        status = faults.head_status or (404 if key not in self.files else 0)
        if status:
            return Response(status_code=status, headers={"X-Error-Code": faults.error_code or "EntryNotFound"})
        data = self.files[key]
        size = len(data) if faults.size is None else faults.size
        headers = {"X-Repo-Commit": part["revision"], "ETag": '"0123456789012345678901234567890123456789"'}
        elsewhere = f"http://localhost:{self.port}/cdn/{key}?signature=abc"
        if faults.is_in_lfs:
            etag = f'"{faults.sha256 or sha256(data)}"'
            headers |= {"X-Linked-Size": str(size), "X-Linked-Etag": etag, "Location": elsewhere}
            return Response(status_code=302, headers=headers)
        if request.method == "HEAD":
            return Response(headers=headers | {"Content-Length": str(size)})
        return RedirectResponse(elsewhere, 302) if faults.redirects_get else self._send(request, data)

    def _resolve_in_history(self, request: Request) -> Response:
        found = self._find(request, is_for_bytes=True)
        if isinstance(found, Response):
            return found
        repository, commit = found
        faults, path = self.faults, request.path_params["path"]
        data = repository.commits[commit].get(path)
        if data is None:
            return _refuse(404, "EntryNotFound", "Entry not found")
        size = str(len(data) if faults.size is None else faults.size)
        headers = {"X-Repo-Commit": faults.commit or commit, "ETag": f'"{git_sha1(data)}"'}
        if is_in_lfs(path):
            location = faults.location or f"http://localhost:{self.port}/cdn/{sha256(data)}?signature=abc"
            linked = f'"{faults.sha256 or sha256(data)}"'
            headers |= {"X-Linked-Size": size, "X-Linked-Etag": linked, "Location": location}
            return Response(status_code=302, headers=headers)
        if request.method == "HEAD":
            return Response(headers=headers | {"Content-Length": size})
        return self._send(request, data, headers)

    async def _cdn(self, request: Request) -> Response:
        if self.faults.is_login_page:
            return HTMLResponse("<html>Please log in</html>")
        key = request.path_params["key"]
        data = self._blobs.get(key) or self.files.get(key)
        return Response(status_code=404) if data is None else self._send(request, data)

    async def _index(self, request: Request) -> Response:
        links = [f'<a href="/wheels/{name}">{name}</a>' for name in self.wheels]
        return HTMLResponse(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")

    async def _wheel(self, request: Request) -> Response:
        return self._send(request, self.wheels[request.path_params["file"]])

    def _send(self, request: Request, data: bytes, headers: dict[str, str] | None = None) -> Response:
        """The bytes, or the asked ones of them (RFC 9110, "Range Requests"): one range, under a strong If-Range."""
        faults = self.faults
        if faults.get_status:
            return Response(status_code=faults.get_status)
        named = {"ETag": f'"{sha256(data)}"'} | (headers or {})
        if faults.etag is not None:
            named["ETag"] = faults.etag
        data = data if faults.body is None else faults.body
        sent = {name: value for name, value in named.items() if value} | {"Accept-Ranges": "bytes"}
        start, end, status = 0, len(data), 200
        asked = None if faults.ignores_range else _range_of(request, sent.get("ETag", ""), len(data))
        if asked is not None:
            start, end = asked[0] + faults.range_offset, min(asked[1] + faults.range_offset, len(data))
            if start >= end:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
            status, sent = 206, sent | {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        if faults.has_length:
            sent["Content-Length"] = str(end - start)
        cut = faults.cuts.pop(0) if faults.cuts else None
        body = self._body(memoryview(data)[start:end], cut)
        return StreamingResponse(body, status_code=status, headers=sent)

    def _body(self, data: memoryview, cut: int | None) -> Iterator[bytes]:
        """The bytes; Starlette runs this in a thread, so it may block."""
        hold, released = self.faults.hold_after, self._released
        first = min(place for place in (cut, hold, len(data)) if place is not None)
        whole, wait_seconds = (CHUNK_BYTES if first < len(data) else LARGE_CHUNK_BYTES), 0.0
        if self.faults.drip is not None:
            whole, wait_seconds = self.faults.drip
        for start in range(0, first, whole):
            if wait_seconds and released.wait(wait_seconds):
                wait_seconds = 0.0
            yield bytes(data[start : min(start + whole, first)])
        if cut == first:
            raise ConnectionResetError("cut on purpose")
        if hold == first:
            released.wait(HOLD_SECONDS)
        if data[first:]:
            yield bytes(data[first:])


def _range_of(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None: send everything. An answer may leave several ranges alone."""
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    condition = request.headers.get("if-range")
    if asked is None or asked[0] == "bytes=-" or (condition is not None and (condition != etag or etag[:2] == "W/")):
        return None
    if not asked[1]:
        return max(0, size - int(asked[2])), size
    start, last = int(asked[1]), int(asked[2] or size)
    return (start, min(last + 1, size)) if last >= start else None


def _refuse(status: int, code: str, message: str) -> Response:
    return Response(status_code=status, headers={"X-Error-Code": code, "X-Error-Message": message})
