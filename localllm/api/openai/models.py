"""GET /v1/models and /v1/models/{id}."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from localllm.api.openai.replies import ModelList, ModelObject, Running
from localllm.errors import ModelNotFound
from localllm.service import ChatService
from localllm.types import ModelInfo


class Models:
    """Both endpoints."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def list(self, _request: Request) -> Response:
        """All models."""
        return _json(ModelList([_object(info) for info in await self._service.models()]))

    async def get(self, request: Request) -> Response:
        """One model. Raises ModelNotFound."""
        wanted = request.path_params["id"]
        for info in await self._service.models():
            if info.id == wanted:
                return _json(_object(info))
        raise ModelNotFound(f"the model {wanted!r} is not served here", param="model")


async def default_model(service: ChatService) -> str:
    """Id of the model that answers where none is named."""
    return (await service.models())[0].id


def _object(info: ModelInfo) -> ModelObject:
    engine = info.engine
    running = Running(
        state=info.state,
        engine=engine.engine if engine else None,
        build=engine.build if engine else None,
        device=engine.device if engine else None,
        context_tokens=engine.context_tokens if engine else None,
        max_jobs=engine.max_jobs if engine else None,
        reasons=info.reasons,
        fallbacks=info.fallbacks,
    )
    return ModelObject(id=info.id, created=info.created, localllm=running)


def _json(body: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
