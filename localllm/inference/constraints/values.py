"""The values that keywords of a JSON Schema take, each checked before llguidance reads it."""

import math
from collections.abc import Callable
from typing import TypeAlias, Union

from localllm.errors import InvalidRequest
from localllm.inference.constraints.keywords import BOUNDS, COUNTS
from localllm.inference.constraints.patterns import MOST_REPEATED, foreign_class, repeated_length

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]
Refuse = Callable[[str], InvalidRequest]  # makes the error that says where

TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
MOST_EXACT = 2**53  # integers beyond it are not exact in the double that llguidance counts with
MOST_ENUM = 2000
LARGEST_COUNT = {"maxItems": 4096, "minItems": 4096, "maxProperties": 4096, "minLength": 20_000, "maxLength": 2**31}
LARGEST_DIVISOR = 1000
MOST_DECIMALS = 6
LITERAL_DEPTH = 16
_ESCAPED = frozenset("\b\f\n\r\t")  # control characters with a short escape; \u could spell a known name anew


def checked(name: str, value: Json, refuse: Refuse) -> Json:
    """The value of a keyword that holds no schema. Raises what `refuse` makes."""
    if name in COUNTS:
        return count(value, name, refuse)
    if name in BOUNDS:
        return number(value, refuse)
    checks = {"const": literal, "enum": enumeration, "multipleOf": divisor, "required": names, "type": types}
    return checks[name](value, refuse)


def types(value: Json, refuse: Refuse) -> Json:
    """`type`."""
    names = value if isinstance(value, list) else [value]
    unknown = [name for name in names if not isinstance(name, str) or name not in TYPES]
    if unknown or not names:
        raise refuse(f"{unknown[:1]} is no type; there are {', '.join(sorted(TYPES))}")
    return value


def count(value: Json, name: str, refuse: Refuse) -> int:
    """`minItems`, `maxLength` and the like."""
    most = LARGEST_COUNT.get(name, 2**31)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise refuse(f"must be a whole number from 0 to {most}")
    return value


def number(value: Json, refuse: Refuse) -> int | float:
    """`minimum` and the like. The true and false of draft 4 are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse("must be a number")
    if not math.isfinite(value) or (isinstance(value, int) and abs(value) > MOST_EXACT):
        raise refuse(f"must be a number of at most {MOST_EXACT}")
    return value


def divisor(value: Json, refuse: Refuse) -> int | float:
    """`multipleOf`: a decimal of few digits, since the grammar counts remainders."""
    step = number(value, refuse)
    scaled = step * float(10**MOST_DECIMALS)
    if step <= 0 or abs(scaled - round(scaled)) > 1e-6 * scaled:
        raise refuse(f"must be more than 0 and have at most {MOST_DECIMALS} decimals")
    if coefficient(step) > LARGEST_DIVISOR:
        raise refuse(f"must be at most {LARGEST_DIVISOR}, its decimal point left out")
    return step


def coefficient(step: int | float) -> int:
    """The digits of a decimal without point and trailing zeros of the fraction: 0.25 is 25."""
    scaled = float(step)
    for _ in range(MOST_DECIMALS):
        if abs(scaled - round(scaled)) < 1e-9 * max(scaled, 1.0):
            break
        scaled *= 10
    return round(scaled)


def names(value: Json, refuse: Refuse) -> Json:
    """`required`."""
    if not isinstance(value, list) or any(not isinstance(name, str) for name in value):
        raise refuse("must be a list of names")
    unique: list[Json] = list(dict.fromkeys(name for name in value if isinstance(name, str)))
    return literal(unique, refuse)


def enumeration(value: Json, refuse: Refuse) -> Json:
    """`enum`."""
    if not isinstance(value, list) or not value or len(value) > MOST_ENUM:
        raise refuse(f"must be a list of 1 to {MOST_ENUM} values")
    return literal(value, refuse)


def literal(value: Json, refuse: Refuse) -> Json:
    """A value that is to come literally: `const`, a member of `enum`, a property's name."""
    _check_literal(value, refuse, 0)
    return value


def _check_literal(value: Json, refuse: Refuse, depth: int) -> None:
    if depth > LITERAL_DEPTH:
        raise refuse(f"nested deeper than {LITERAL_DEPTH}")
    match value:
        case str():
            bad = [c for c in value if (c < " " and c not in _ESCAPED) or c == "\x7f"]
            if bad:
                raise refuse(f"holds the control character {bad[0]!r}, which cannot be enforced")
        case bool() | None:
            pass
        case int() | float():
            number(value, refuse)
        case list():
            for item in value:
                _check_literal(item, refuse, depth + 1)
        case dict():
            for key, item in value.items():
                _check_literal(key, refuse, depth + 1)
                _check_literal(item, refuse, depth + 1)


def pattern(value: Json, refuse: Refuse) -> str:
    """`pattern`, in the part of ECMA-262 that llguidance reads alike."""
    if not isinstance(value, str):
        raise refuse("must be text")
    if repeated_length(value) > MOST_REPEATED:
        raise refuse(f"its fixed repeats demand more than {MOST_REPEATED} characters")
    foreign = foreign_class(value)
    if foreign:
        raise refuse(f"the character class {foreign[:60]} is ambiguous; escape its special characters")
    return value


def tidy_arrays(plain: "dict[str, Json]", refuse: Refuse) -> None:
    """Write the array of `items` and the `additionalItems` of older drafts as `prefixItems` and `items`."""
    if isinstance(plain.get("items"), list):
        if "prefixItems" in plain:
            raise refuse("an array of items beside prefixItems; keep prefixItems")
        plain["prefixItems"] = plain.pop("items")
        if "additionalItems" in plain:
            plain["items"] = plain.pop("additionalItems")
    if "additionalItems" in plain:
        raise refuse("additionalItems has an effect only beside an array of items; use items")


def as_list(value: Json) -> "list[Json]":
    """A list that is one; else an empty one."""
    return value if isinstance(value, list) else []
