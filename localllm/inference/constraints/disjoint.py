"""Proof that the branches of a oneOf exclude each other, so that anyOf enforces the same."""

from collections.abc import Mapping

from localllm.inference.constraints.values import TYPES, Json

DEEPEST = 8  # $ref and properties followed for one proof
MOST_BRANCHES = 64

Node = dict[str, Json]


class Disjointness:
    """Answers for one document; `schemas` are its schemas by JSON pointer."""

    def __init__(self, schemas: Mapping[str, Json]) -> None:
        self._schemas = schemas

    def clash(self, branches: list[Json]) -> tuple[int, int] | None:
        """Indexes of two branches that some value may satisfy both, as far as can be told; None: there are none."""
        if len(branches) > MOST_BRANCHES:
            return 0, MOST_BRANCHES
        for right in range(len(branches)):
            for left in range(right):
                if not self._excludes(branches[left], branches[right], 0):
                    return left, right
        return None

    def _excludes(self, left: Json, right: Json, depth: int) -> bool:
        if left is False or right is False:
            return True
        a, b = self._resolve(left), self._resolve(right)
        if a is None or b is None or depth > DEEPEST:
            return False
        if not _types(a) & _types(b):
            return True
        mine, other = _literals(a), _literals(b)
        if mine is not None and other is not None:
            return not any(_equal(x, y) for x in mine for y in other)
        if _types(a) & _types(b) != {"object"}:
            return False
        return self._told_apart(a, b, depth)

    def _told_apart(self, a: Node, b: Node, depth: int) -> bool:
        """Whether a property that one of them requires has values of its own in each."""
        left, right = a.get("properties"), b.get("properties")
        if not isinstance(left, dict) or not isinstance(right, dict):
            return False
        required = [*_names(a), *_names(b)]
        shared = [name for name in required if name in left and name in right]
        return any(self._excludes(left[name], right[name], depth + 1) for name in shared)

    def _resolve(self, schema: Json) -> Node | None:
        """What must hold at least: a bare $ref followed, siblings of one left aside."""
        for _ in range(DEEPEST):
            if not isinstance(schema, dict):
                return None
            reference = schema.get("$ref")
            if not isinstance(reference, str) or set(schema) != {"$ref"}:
                return schema
            schema = self._schemas.get(reference[1:])
        return None


def _types(schema: Node) -> set[str]:
    """The types it allows; `integer` counts as a number."""
    literals = _literals(schema)
    named = schema.get("type")
    allowed = {named} if isinstance(named, str) else set(named) if isinstance(named, list) else set(TYPES)
    types = {"number" if name == "integer" else str(name) for name in allowed}
    return types if literals is None else types & {_type_of(value) for value in literals}


def _type_of(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _literals(schema: Node) -> list[Json] | None:
    """The only values it allows, where const or enum lists them."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _equal(left: Json, right: Json) -> bool:
    """Equality in JSON, where 1 is 1.0 and true is not 1. Values with members count as equal: no proof."""
    if isinstance(left, list | dict) or isinstance(right, list | dict):
        return _type_of(left) == _type_of(right)
    return _type_of(left) == _type_of(right) and left == right


def _names(schema: Node) -> list[str]:
    names = schema.get("required")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
