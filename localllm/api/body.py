"""Request bodies: bounded, decoded by type, with the field at fault named."""

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

import msgspec
from starlette.requests import Request

from localllm.api.errors import HttpError
from localllm.errors import InvalidRequest, UnsupportedField

MAX_BODY_BYTES = 2 * 2**20

Body = TypeVar("Body", bound=msgspec.Struct)
Neutral = tuple[object, ...]  # the values of a field that ask for nothing

_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_NAMING = {  # messages that name the field themselves
    "unknown": re.compile(r"^Object contains unknown field `(?P<name>[^`]*)`"),
    "missing": re.compile(r"missing required field `(?P<name>[^`]*)`"),
}


async def read_body(request: Request) -> bytes:
    """The whole body. Raises HttpError 413 as soon as it is too large."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise HttpError(413, "body_too_large", f"the body is larger than {MAX_BODY_BYTES // 2**20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def decode_body(data: bytes, kind: type[Body], *, ignored: Collection[str], refused: Mapping[str, Neutral]) -> Body:
    """The body as a `kind`.

    Fields in `ignored` may be there and have no effect; those in `refused` may hold one of their neutral
    values or null. A null field counts as left out. Raises InvalidRequest or UnsupportedField, naming the field.
    """
    fields = _object(data)
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    kept = {}
    for name, raw in fields.items():
        if bytes(raw) == b"null" or name in ignored:
            continue
        if name in refused:
            if not _is_neutral(raw, refused[name]):
                raise UnsupportedField(_unsupported(name, refused[name]), param=name)
        elif name in known:
            kept[name] = raw
        else:
            raise InvalidRequest(f"unknown field: {name}", param=name)
    try:
        return msgspec.json.decode(msgspec.json.encode(kept), type=kind)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from error


def _object(data: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body must be a JSON object: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from error


def _is_neutral(raw: msgspec.Raw, neutral: Neutral) -> bool:
    value = msgspec.json.decode(raw)
    return any(type(value) is type(candidate) and value == candidate for candidate in neutral)


def _unsupported(name: str, neutral: Neutral) -> str:
    values = " or ".join(msgspec.json.encode(value).decode() for value in neutral)
    return f"this server does not support {name}" + (f" other than {values}" if values else "")


def _named(message: str) -> InvalidRequest:
    """The error for msgspec's message, whose end says where: «… - at `$.messages[0].role`»."""
    at = _AT.search(message)
    path = at["path"] if at else ""
    text = message[: at.start()] if at else message
    for fault, pattern in _NAMING.items():
        named = pattern.search(text)
        if named:
            path = f"{path}.{named['name']}".lstrip(".")
            return InvalidRequest(f"{fault} field: {path}", param=path)
    return InvalidRequest(f"{path}: {text}" if path else text, param=path or None)
