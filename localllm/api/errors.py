"""Errors as HTTP: a status for each kind, and OpenAI's error body with all four keys."""

import msgspec
from msgspec import Struct
from starlette.responses import Response

from localllm import errors

_STATUS: list[tuple[type[errors.LocalLLMError], int]] = [  # the first match counts
    (errors.ModelNotFound, 404),
    (errors.InvalidRequest, 400),
    (errors.ServiceClosed, 503),
    (errors.EngineError, 503),
    (errors.ModelError, 500),
]
_TYPE = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


class ErrorBody(Struct, frozen=True):
    """OpenAI's error object (API reference, "Error codes")."""

    message: str
    type: str
    param: str | None
    code: str | None


class HttpError(Exception):
    """A refusal that only HTTP knows: authentication, media types, sizes."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorBody(message, _error_type(status), param, code)

    def response(self) -> Response:
        """The answer."""
        return _response(self.status, self.body)


def error_body(error: errors.LocalLLMError) -> ErrorBody:
    """The error object for an error of ours, also used inside a stream."""
    return ErrorBody(error.message, _error_type(status_of(error)), error.param, error.code)


def error_response(error: errors.LocalLLMError) -> Response:
    """The answer for an error of ours."""
    return _response(status_of(error), error_body(error))


def status_of(error: errors.LocalLLMError) -> int:
    """HTTP status for an error of ours."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def encode_error(body: ErrorBody) -> bytes:
    """`{"error": {…}}`."""
    return msgspec.json.encode({"error": body})


def _error_type(status: int) -> str:
    return _TYPE.get(status, "server_error" if status >= 500 else "invalid_request_error")


def _response(status: int, body: ErrorBody) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else None  # a new worker is on its way
    return Response(encode_error(body), status, headers, media_type="application/json")
