"""GET /health: whether the server can answer, and what its models are doing."""

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from localllm import __version__
from localllm.service import ChatService
from localllm.types import ModelState


class HealthReport(Struct, frozen=True):
    """`status` is "ok" when a request would be answered at once or after one load."""

    status: str
    version: str
    models: dict[str, ModelState]


class Health:
    """The endpoint; it never waits for an engine."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def __call__(self, _request: Request) -> Response:
        """200 when ready, 503 while the default model loads."""
        states = {info.id: info.state for info in await self._service.models()}
        is_loading = next(iter(states.values())) == "loading"
        report = HealthReport("loading" if is_loading else "ok", __version__, states)
        return Response(msgspec.json.encode(report), 503 if is_loading else 200, media_type="application/json")
