"""Services and servers for tests: real worker processes, real sockets on 127.0.0.1."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from types import SimpleNamespace

import uvicorn.server

from localllm.api.clients import Clients
from localllm.api.server import bind, make_server, url_of
from localllm.cli.compose import make_service
from localllm.config import Settings
from localllm.models.catalog import Catalog
from localllm.models.local import LocalModel
from localllm.models.resolve import resolve
from localllm.models.storage.store import Store
from localllm.runtime.local import LocalService
from localllm.service import ChatService

_is_hasty = ContextVar("_is_hasty", default=False)


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(0.01 if _is_hasty.get() else seconds)


# uvicorn looks ten times a second whether it is to end, and then waits once more: longer than most tests
setattr(uvicorn.server, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": _sleep}))  # noqa: B010


def local_model(reference: str) -> LocalModel:
    """A model that needs no download: a path, or the echo engine."""
    found = resolve(reference, Store(Settings().home_path), Catalog([]))
    assert isinstance(found, LocalModel)
    return found


@asynccontextmanager
async def running_service(
    *references: str, settings: Settings | None = None, jobs: int = 8
) -> AsyncGenerator[LocalService, None]:
    """A service over these models."""
    service = make_service([local_model(reference) for reference in references], settings or Settings(), jobs=jobs)
    try:
        yield service
    finally:
        await service.close()


@asynccontextmanager
async def running_server(
    service: ChatService, *, key: str = "", clients: Clients | None = None
) -> AsyncGenerator[str, None]:
    """The base URL of a server in this event loop, on a socket of its own."""
    known = clients or Clients(key)
    listener = bind("127.0.0.1", 0, known)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvloop does, with which `localllm serve` runs
    server = make_server(service, clients=known, host="127.0.0.1")
    context = copy_context()
    context.run(_is_hasty.set, True)
    task = asyncio.create_task(server.serve(sockets=[listener]), context=context)
    try:
        while not server.started:
            assert not task.done(), task.result()
            await asyncio.sleep(0.005)
        yield url_of(listener)
    finally:
        server.should_exit = True
        await task
