"""How much work a schema is to compile: what it multiplies is bounded before llguidance multiplies it."""

import math
from collections.abc import Callable, Mapping

from localllm.errors import InvalidRequest
from localllm.inference.constraints.values import Json, as_list, coefficient

MOST_COMBINATIONS = 1024  # of the alternatives of schemas that must hold at once: about 0.1 ms each at worst
LARGEST_MULTIPLE = 4096  # remainders to tell apart

_APART = frozenset({"$defs", "allOf", "anyOf", "$ref", "definitions"})

Fault = Callable[[str, str], InvalidRequest]


def check_effort(schemas: Mapping[str, Json], fault: Fault) -> None:
    """Raises InvalidRequest for a document whose parts multiply to too much; `schemas` are all of its schemas."""
    steps = {schema["multipleOf"] for schema in schemas.values() if isinstance(schema, dict) and "multipleOf" in schema}
    together = math.lcm(*(coefficient(step) for step in steps if isinstance(step, int | float)))
    if together > LARGEST_MULTIPLE:
        raise fault("", f"its multipleOf have the common multiple {together}; at most {LARGEST_MULTIPLE} is enforced")
    weights = _Weights(schemas)
    for at, schema in schemas.items():
        if isinstance(schema, dict) and weights.combinations(schema) > MOST_COMBINATIONS:
            raise fault(at, f"schemas that must hold at once have more than {MOST_COMBINATIONS} combinations")


class _Weights:
    """Alternatives in a schema and all it names: 1, and 1 for each branch of anyOf below."""

    def __init__(self, schemas: Mapping[str, Json]) -> None:
        self._schemas = schemas
        self._known: dict[str, int] = {}

    def combinations(self, schema: dict[str, Json]) -> int:
        """The product over what must hold at once."""
        product = 1
        for member in _members(schema):
            product = min(product * self._weight(member), MOST_COMBINATIONS + 1)
        return product

    def _weight(self, value: Json) -> int:
        if isinstance(value, list):
            return 1 + sum(self._weight(item) - 1 for item in value)
        if not isinstance(value, dict):
            return 1
        weight = 1
        for name, part in value.items():
            if name in {"const", "enum"}:
                weight += len(as_list(part)) - (name == "const")
            elif name == "$ref":
                weight += self._named(str(part)[1:]) - 1
            else:
                weight += self._weight(part) - 1 + (len(as_list(part)) if name == "anyOf" else 0)
        return min(max(weight, 1), MOST_COMBINATIONS + 1)

    def _named(self, pointer: str) -> int:
        if pointer not in self._known:
            self._known[pointer] = 1  # a schema that contains itself is counted once
            self._known[pointer] = self._weight(self._schemas.get(pointer))
        return self._known[pointer]


def _members(schema: dict[str, Json]) -> list[Json]:
    """The parts of a schema that must hold at once, of those that have alternatives."""
    members = [*as_list(schema.get("allOf"))]
    plain = {name: part for name, part in schema.items() if name not in _APART}
    members += [{name: schema[name]} for name in ("anyOf", "$ref") if name in schema]
    return [*members, plain] if len(members) + bool(plain) > 1 else []
