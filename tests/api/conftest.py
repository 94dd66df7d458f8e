"""A server with the echo engine."""

from collections.abc import AsyncGenerator

import httpx2
import pytest

from tests.serving import running_server, running_service


@pytest.fixture(scope="package")
async def url() -> AsyncGenerator[str, None]:
    """Base URL; models "echo" and the slow "echo:50"."""
    async with running_service("echo", "echo:50") as service, running_server(service) as base:
        yield base


@pytest.fixture
async def http() -> AsyncGenerator[httpx2.AsyncClient, None]:
    """A plain client, for plain HTTP: to read the certificates of the world takes longer than most tests."""
    async with httpx2.AsyncClient(trust_env=False, timeout=30, verify=False) as client:
        yield client
