"""The part of JSON Schema that MLC holds an answer to; the rest is refused by name.

Its grammar library, xgrammar, leaves out what it does not know and says nothing; what it cannot read ends the process
(mlc-ai/xgrammar cpp/json_schema_converter.cc of January 2025, which its wheels had then; later ones know more).
"""

from collections.abc import Iterator, Mapping

import msgspec

from localllm.errors import InvalidRequest

_TYPES = frozenset({"string", "integer", "number", "boolean", "null", "array", "object"})
_HONOURED = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "definitions",
        "enum",
        "items",
        "properties",
        "required",
    }
    | {"type"}
)
_ANNOTATIONS = frozenset({"$comment", "$schema", "default", "deprecated", "description", "examples", "title"})
_DECIDING = ("$ref", "const", "enum", "anyOf", "type")  # the first that is there counts, and hides what is beside it
_OF_ALL = frozenset({"$defs", "definitions"})
_MOST_DEPTH = 32
_PARAM = "response_format"


def any_object() -> str:
    """The schema of an object with anything in it."""
    return '{"type": "object", "additionalProperties": true}'


def checked_schema(source: str) -> str:
    """A schema that is held to the letter. Raises InvalidRequest, naming the place, for any other."""
    try:
        schema = msgspec.json.decode(source)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"the schema is no JSON: {error}", param=_PARAM) from error
    _check(schema, "#", schema, 0)
    return source


def _check(schema: object, place: str, root: object, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise InvalidRequest(f"the schema is more than {_MOST_DEPTH} levels deep", param=_PARAM)
    if schema is True:
        return
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{place} of the schema is no object; false allows nothing", param=_PARAM)
    unknown = sorted(schema.keys() - _HONOURED - _ANNOTATIONS)
    if unknown:
        raise _refusal(f"holds no answer to {unknown[0][:40]!r}", place)
    _check_alone(schema, place)
    _check_reference(schema, place, root)
    _check_type(schema, place)
    for name, inner in _inner(schema, place):
        _check(inner, f"{place}/{name}", root, depth + 1)


def _inner(schema: Mapping[str, object], place: str) -> Iterator[tuple[str, object]]:
    """The schemas in a schema."""
    for key in ("$defs", "definitions", "properties"):
        named = schema.get(key, {})
        if not isinstance(named, dict):
            raise _refusal(f"wants an object as {key}", place)
        yield from ((f"{key}/{name}", inner) for name, inner in named.items())
    cases = schema.get("anyOf", [True])
    if not isinstance(cases, list) or not cases:
        raise _refusal("wants a list of schemas as anyOf", place)
    yield from ((f"anyOf/{at}", inner) for at, inner in enumerate(cases))
    if "items" in schema:
        yield "items", schema["items"]
    if schema.get("additionalProperties", False) is not False:
        yield "additionalProperties", schema["additionalProperties"]


def _check_alone(schema: Mapping[str, object], place: str) -> None:
    decides = next((key for key in _DECIDING if key in schema), "type")
    if decides == "type":
        return
    values = schema["enum"] if decides == "enum" else [schema.get("const")]
    if not isinstance(values, list) or not values:
        raise _refusal("wants a list of values as enum", place)
    is_typed = decides in ("const", "enum") and "type" in schema
    if is_typed and any(_type_of(value) != schema["type"] for value in values):
        raise _refusal(f"does not look at the type beside {decides}, and not all values are of it", place)
    hidden = sorted(schema.keys() - _ANNOTATIONS - _OF_ALL - {decides} - ({"type"} if is_typed else set()))
    if hidden:
        raise _refusal(f"does not look at {hidden[0]} beside {decides}", place)


def _type_of(value: object) -> str:
    if isinstance(value, bool):  # which Python takes for an integer
        return "boolean"
    kinds = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def _check_reference(schema: Mapping[str, object], place: str, root: object) -> None:
    if "$ref" not in schema:
        return
    target = schema["$ref"]
    if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
        raise _refusal('follows a $ref within the schema alone, such as "#/$defs/name"', place)
    found = root
    for part in target.split("/")[1:]:
        if not isinstance(found, dict) or part not in found:
            raise _refusal(f"finds nothing at the $ref {target[:80]!r}", place)
        found = found[part]


def _check_type(schema: Mapping[str, object], place: str) -> None:
    kind = schema.get("type")
    if kind is not None and (not isinstance(kind, str) or kind not in _TYPES):
        raise _refusal("takes one name as type; write several as anyOf", place)
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if kind == "object" and not properties and "additionalProperties" not in schema:
        raise _refusal('makes of this an empty object; add "additionalProperties": true, or properties', place)
    if kind == "array" and "items" not in schema:
        raise _refusal('makes of this an empty array; add "items": true, or what they are', place)
    names = properties if isinstance(properties, dict) else {}
    missing = [name for name in required if name not in names] if isinstance(required, list) else ["required"]
    if missing:
        raise _refusal(f"requires only what properties describes, not {str(missing[0])[:40]!r}", place)


def _refusal(words: str, place: str) -> InvalidRequest:
    return InvalidRequest(f"at {place[:120]} of the schema: MLC {words}", param=_PARAM)
