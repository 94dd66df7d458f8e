"""Servers whose service says what the test wrote down."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import openai
from openai.types.chat import ChatCompletionMessageParam

from localllm.api.clients import Clients
from tests.scripts import Step
from tests.serving import running_server
from tests.tui.fakes import FakeService

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


@asynccontextmanager
async def scripted(
    *scripts: list[Step], clients: Clients | None = None
) -> AsyncGenerator[tuple[FakeService, str], None]:
    """A service that plays these scripts, and the base URL of its server."""
    service = FakeService(*scripts)
    async with running_server(service, clients=clients) as url:
        yield service, url


@asynccontextmanager
async def openai_client(url: str, key: str = "any") -> AsyncGenerator[openai.AsyncOpenAI, None]:
    """A client that tries once."""
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        yield client
