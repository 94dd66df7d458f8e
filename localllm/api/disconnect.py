"""Noticing that a client has left, which ends its job."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.types import Receive

Result = TypeVar("Result")


class ClientLeft(Exception):
    """Nobody is there to answer any more."""


async def disconnected(receive: Receive) -> None:
    """Return once the client has left. The request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_client_leaves(work: Coroutine[object, object, Result], receive: Receive) -> Result:
    """The result of `work`, which is cancelled when the client leaves. Raises ClientLeft then."""
    job = asyncio.ensure_future(work)
    left = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({job, left}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        raise ClientLeft
    finally:
        left.cancel()
        job.cancel()
        await asyncio.gather(job, left, return_exceptions=True)
