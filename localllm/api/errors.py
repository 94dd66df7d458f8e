"""Errors as HTTP: a status for each kind, and OpenAI's error body with all four keys."""

import math

import msgspec
from msgspec import Struct
from starlette.responses import Response

from localllm import errors

_STATUS: list[tuple[type[errors.LocalLLMError], int]] = [  # the first match counts
    (errors.ModelNotFound, 404),
    (errors.InvalidRequest, 400),
    (errors.QueueFull, 429),
    (errors.ServiceClosed, 503),
    (errors.EngineError, 503),
    (errors.ModelError, 500),
]
_TYPE = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_TRY_AGAIN = {429, 503}  # a place in the queue comes free; a new worker is on its way


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
    return _response(status_of(error), error_body(error), error.retry_seconds)


def status_of(error: errors.LocalLLMError) -> int:
    """HTTP status for an error of ours."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def encode_error(body: ErrorBody) -> bytes:
    """`{"error": {…}}`."""
    return msgspec.json.encode({"error": body})


def _error_type(status: int) -> str:
    return _TYPE.get(status, "server_error" if status >= 500 else "invalid_request_error")


def _response(status: int, body: ErrorBody, retry_seconds: float | None = None) -> Response:
    """`Retry-After` is in whole seconds (RFC 9110, section 10.2.3)."""
    headers = {"Retry-After": str(max(1, math.ceil(retry_seconds or 0)))} if status in _TRY_AGAIN else None
    return Response(encode_error(body), status, headers, media_type="application/json")
