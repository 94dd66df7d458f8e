"""What an answer must match, as xgrammar takes it from OpenVINO; what it would ignore in silence is refused."""

import re
from types import MappingProxyType

import msgspec
import openvino_genai as genai

from localllm.errors import InvalidRequest
from localllm.types import Constraint, ConstraintKind

KINDS: frozenset[ConstraintKind] = frozenset({"json_object", "json_schema", "regex"})
_PARAM = "response_format"
_MOST_BYTES = 64 * 1024
_MOST_DEPTH = 32
_ELSE = "leave it out, or use --engine llama_cpp"
_OBJECT = '{"type": "object"}'

# Keywords that answers were seen to hold to. xgrammar skips over those that it does not know, and lets control
# characters, which JSON does not have, into strings of a minLength or maxLength.
_NAMED_SCHEMAS = frozenset({"properties", "$defs", "definitions"})
_SCHEMAS = frozenset({"items", "additionalProperties"})
_LISTS = frozenset({"anyOf", "prefixItems"})
_VALUES = frozenset(
    {
        "$ref",
        "const",
        "enum",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "required",
        "type",
    }
)
_SAYINGS = frozenset({"$comment", "$id", "$schema", "default", "description", "examples", "title"})

_OF_TYPES = MappingProxyType(
    {
        "additionalProperties": ("object",),
        "items": ("array",),
        "maxItems": ("array",),
        "maximum": ("integer", "number"),
        "minItems": ("array",),
        "minimum": ("integer", "number"),
        "prefixItems": ("array",),
        "properties": ("object",),
        "required": ("object",),
    }
)
_ALONE = frozenset({"$ref", "anyOf"})

# Of regular expressions, what is not regular, and anchors, which xgrammar skips over.
_NOT_REGULAR = re.compile(r"\(\?(?!:)|\\[bBAzZ1-9]|\\[pP]\{|[*+?}][?+]")


def structured(constraint: Constraint) -> genai.StructuredOutputConfig:
    """Raises InvalidRequest for what cannot be held to."""
    config = genai.StructuredOutputConfig()
    match constraint.kind:
        case "json_object":
            config.json_schema = _OBJECT
        case "json_schema":
            _check_schema(constraint.source)
            config.json_schema = constraint.source
        case "regex":
            config.regex = _checked_regex(constraint.source)
        case "lark":
            raise InvalidRequest(f"the engine openvino takes no Lark grammars; {_ELSE}", param=_PARAM)
    return config


def _checked_regex(source: str) -> str:
    """Without the anchors at its ends: an answer matches from its first character to its last anyhow."""
    if len(source) > _MOST_BYTES:
        raise InvalidRequest(f"the regular expression has {len(source)} letters, {_MOST_BYTES} at most", param=_PARAM)
    try:
        re.compile(source)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidRequest(f"this is no regular expression: {error}", param=_PARAM) from error
    inner = source.removeprefix("^")
    inner = inner[:-1] if inner.endswith("$") and not inner.endswith("\\$") else inner
    found = _NOT_REGULAR.search(inner)
    if found is not None:
        raise InvalidRequest(
            f"the engine openvino does not hold answers to {found.group()!r} in a regular expression; {_ELSE}",
            param=_PARAM,
        )
    return inner


def _check_schema(source: str) -> None:
    if len(source) > _MOST_BYTES:
        raise InvalidRequest(f"the JSON Schema has {len(source)} letters, {_MOST_BYTES} at most", param=_PARAM)
    try:
        schema = msgspec.json.decode(source.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"the JSON Schema is no JSON: {error}", param=_PARAM) from error
    _check_part(schema, _MOST_DEPTH)


def _check_part(schema: object, depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise InvalidRequest("a JSON Schema is an object, and so is each of its parts", param=_PARAM)
    if depth == 0:
        raise InvalidRequest(f"the JSON Schema is more than {_MOST_DEPTH} levels deep", param=_PARAM)
    _check_together(schema)
    for name, value in schema.items():
        if name in _VALUES or name in _SAYINGS:
            continue
        for part in _parts(name, value):
            _check_part(part, depth - 1)


def _check_together(schema: dict[str, object]) -> None:
    """Keywords that count for xgrammar only beside the right type, and those beside which no others count."""
    for name, types in _OF_TYPES.items():
        if name in schema and schema.get("type") not in types:
            raise InvalidRequest(
                f"{name!r} in a JSON Schema needs the type {' or '.join(types)} beside it", param=_PARAM
            )
    for name in _ALONE & schema.keys():
        others = schema.keys() - _SAYINGS - {name, "$defs", "definitions"}
        if others:
            raise InvalidRequest(
                f"the engine openvino does not hold answers to {min(others)[:40]!r} beside {name!r} in a JSON Schema; "
                f"{_ELSE}",
                param=_PARAM,
            )
    required, properties = schema.get("required", []), schema.get("properties", {})
    if not isinstance(required, list) or not isinstance(properties, dict):
        raise InvalidRequest("in a JSON Schema 'required' is a list and 'properties' an object", param=_PARAM)
    missing = [name for name in required if name not in properties]
    if missing:
        raise InvalidRequest(
            f"{str(missing[0])[:40]!r} is required and not among the properties; {_ELSE}", param=_PARAM
        )


def _parts(name: str, value: object) -> list[object]:
    """The schemas in a keyword's value. Raises InvalidRequest for a keyword that is not known."""
    if name in _SCHEMAS:
        return [value]
    if name in _NAMED_SCHEMAS and isinstance(value, dict):
        return list(value.values())
    if name in _LISTS and isinstance(value, list):
        return value
    raise InvalidRequest(
        f"the engine openvino does not hold answers to {name[:40]!r} in a JSON Schema; {_ELSE}", param=_PARAM
    )
