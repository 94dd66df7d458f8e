"""The ASGI application: routes, guard and error bodies around a service."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from localllm.api.clients import Clients
from localllm.api.disconnect import ClientLeft
from localllm.api.errors import HttpError, error_response
from localllm.api.guard import Guard
from localllm.api.health import Health
from localllm.api.openai.chat import ChatCompletions
from localllm.api.openai.completions import Completions
from localllm.api.openai.embeddings import EmbeddingsEndpoint
from localllm.api.openai.models import Models
from localllm.errors import LocalLLMError
from localllm.service import ChatService


def create_app(service: ChatService, *, clients: Clients, host: str = "127.0.0.1") -> Starlette:
    """The application; it closes the service when it shuts down."""
    models = Models(service)
    routes = [
        Route("/health", Health(service).__call__, methods=["GET"]),
        Route("/v1/models", models.list, methods=["GET"]),
        Route("/v1/models/{id:path}", models.get, methods=["GET"]),
        Route("/v1/chat/completions", ChatCompletions(service).__call__, methods=["POST"]),
        Route("/v1/completions", Completions(service).__call__, methods=["POST"]),
        Route("/v1/embeddings", EmbeddingsEndpoint(service).__call__, methods=["POST"]),
    ]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await service.close()

    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, clients=clients, host=host)],
        exception_handlers={
            LocalLLMError: _ours,
            HttpError: _refusal,
            HTTPException: _starlette,
            ClientLeft: _left,
        },
        lifespan=lifespan,
    )


async def _ours(_request: Request, error: Exception) -> Response:
    if not isinstance(error, LocalLLMError):
        raise error
    return error_response(error)


async def _refusal(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HttpError):
        raise error
    return error.response()


async def _starlette(request: Request, error: Exception) -> Response:
    """No such route, or not with this method."""
    if not isinstance(error, HTTPException):
        raise error
    words = f"{request.method} {request.url.path}: {error.detail}"
    return HttpError(error.status_code, "not_found" if error.status_code == 404 else "not_allowed", words).response()


async def _left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody will read it; the status that nginx logs for this
