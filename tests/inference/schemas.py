"""Random JSON Schemas of the keywords that are enforced, and random walks through grammars."""

import random
import re

import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import Tokenizer
from localllm.engines.job import TokenConstraint
from localllm.inference.constraints.values import Json

FORMATS = ["date", "date-time", "time", "ipv4", "ipv6", "uuid", "email", "hostname", "duration", "uri"]
PATTERNS = ["^[a-z]{2,5}$", "^(ab|c)+$", "[0-9]{3}", "^\\w+@\\w+$", '^[^\\s"]{1,4}$', "^\\d{2}-\\d{2}$"]
NAMES = ["a", "b", "name", "the age", 'ä"q', "x/y", "tab\t"]
DEEPEST = 3


def random_schema(seed: int) -> dict[str, Json]:
    """A schema that something satisfies."""
    make = _Maker(random.Random(seed))
    schema = make.schema(0)
    if make.uses_tree:
        tree: dict[str, Json] = {"type": "object", "properties": {"v": make.scalar(), "next": {"$ref": "#/$defs/tree"}}}
        schema["$defs"] = {"tree": {**tree, "required": ["v"], "additionalProperties": False}}
    return schema


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.uses_tree = False

    def schema(self, depth: int) -> dict[str, Json]:
        if depth >= DEEPEST or self.rng.random() < 0.3:
            return self.scalar()
        kinds = [self.object, self.object, self.array, self.tuple, self.any_of, self.one_of, self.all_of, self.map]
        made = self.rng.choice(kinds)(depth + 1)
        if self.rng.random() < 0.2:
            made["description"] = "says nothing"
        return made

    def scalar(self) -> dict[str, Json]:
        kinds = [self.string, self.integer, self.number, self.literal, self.formatted, self.pattern, self.simple]
        return self.rng.choice(kinds)()

    def simple(self) -> dict[str, Json]:
        kinds: list[dict[str, Json]] = [{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {}]
        return self.rng.choice(kinds)

    def string(self) -> dict[str, Json]:
        low = self.rng.randrange(6)
        return {"type": "string", "minLength": low, "maxLength": low + self.rng.randrange(8)}

    def integer(self) -> dict[str, Json]:
        low = self.rng.randrange(-500, 500)
        made: dict[str, Json] = {"type": "integer", "minimum": low, "maximum": low + self.rng.randrange(20, 3000)}
        if self.rng.random() < 0.3:
            made["multipleOf"] = self.rng.choice([2, 3, 7, 10])
        return made

    def number(self) -> dict[str, Json]:
        low = round(self.rng.uniform(-50, 50), 3)
        return {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": low + self.rng.choice([0.5, 3, 1e6])}

    def literal(self) -> dict[str, Json]:
        values: list[Json] = ["x", "two words", 'q"', 3, -2.5, True, None, [1, "a"], {"k": 1, "l": []}, "é\n", 1e-3]
        chosen = self.rng.sample(values, self.rng.randrange(1, 4))
        return {"enum": chosen} if len(chosen) > 1 else {"const": chosen[0]}

    def formatted(self) -> dict[str, Json]:
        return {"type": "string", "format": self.rng.choice(FORMATS)}

    def pattern(self) -> dict[str, Json]:
        return {"type": "string", "pattern": self.rng.choice(PATTERNS)}

    def object(self, depth: int) -> dict[str, Json]:
        names = self.rng.sample(NAMES, self.rng.randrange(1, 5))
        properties: dict[str, Json] = {name: self.child(depth) for name in names}
        required: list[Json] = [name for name in names if self.rng.random() < 0.6]
        made: dict[str, Json] = {"type": "object", "properties": properties, "required": required}
        extras: list[Json] = [False, False, True, {"type": "integer"}]
        made["additionalProperties"] = self.rng.choice(extras)
        return made

    def child(self, depth: int) -> dict[str, Json]:
        if self.rng.random() < 0.1:
            self.uses_tree = True
            return {"$ref": "#/$defs/tree"}
        return self.schema(depth)

    def map(self, depth: int) -> dict[str, Json]:
        made: dict[str, Json] = {"type": "object", "additionalProperties": self.schema(depth), "minProperties": 1}
        if self.rng.random() < 0.5:
            made["patternProperties"] = {"^n_[a-z]{1,3}$": self.schema(depth)}
        return {**made, "maxProperties": 3}

    def array(self, depth: int) -> dict[str, Json]:
        low = self.rng.randrange(3)
        return {"type": "array", "items": self.child(depth), "minItems": low, "maxItems": low + self.rng.randrange(3)}

    def tuple(self, depth: int) -> dict[str, Json]:
        items: list[Json] = [self.schema(depth) for _ in range(self.rng.randrange(1, 4))]
        made: dict[str, Json] = {"type": "array", "prefixItems": items, "minItems": self.rng.randrange(len(items) + 1)}
        rest: list[Json] = [False, {"type": "null"}]
        return {**made, "items": self.rng.choice(rest)}

    def any_of(self, depth: int) -> dict[str, Json]:
        return {"anyOf": [self.schema(depth) for _ in range(self.rng.randrange(1, 4))]}

    def one_of(self, depth: int) -> dict[str, Json]:
        branches: list[Json] = []
        for kind in "pqr":
            properties: dict[str, Json] = {"kind": {"const": kind}, kind: self.schema(depth)}
            branches.append({"type": "object", "properties": properties, "required": ["kind"]})
        return {"oneOf": branches}

    def all_of(self, depth: int) -> dict[str, Json]:
        parts: list[Json] = [{"properties": {name: self.schema(depth)}, "required": [name]} for name in ("l", "m")]
        return {"type": "object", "allOf": parts}


def random_text(constraint: TokenConstraint, tokenizer: Tokenizer, seed: int, patience: int = 60) -> bytes:
    """What a walk over allowed tokens spells: random ones at first, after `patience` of them what closes."""
    rng = np.random.default_rng(seed)
    logits = np.empty(tokenizer.vocab_size, np.float32)
    spelled = b""
    single = _single_bytes(tokenizer)
    for step in range(4000):
        if constraint.is_complete:
            return spelled
        logits.fill(0.0)
        constraint.mask(logits)
        allowed = np.flatnonzero(logits == 0.0)
        token = (
            _closing(allowed, tokenizer.end_tokens, single, spelled, rng)
            if step > patience
            else int(rng.choice(allowed))
        )
        constraint.accept(token)
        if token in tokenizer.end_tokens:
            return spelled
        spelled += tokenizer.piece(token)
    raise AssertionError(f"no end in sight: {spelled[-200:]!r}")


def _closing(
    allowed: NDArray[np.intp],
    end_tokens: frozenset[int],
    single: dict[bytes, int],
    spelled: bytes,
    rng: np.random.Generator,
) -> int:
    """The end, or what ends strings, arrays and objects; else anything that opens none."""
    may_come = {int(token) for token in allowed}
    ends = may_come & end_tokens
    if ends:
        return min(ends)
    choices = {piece: token for piece, token in single.items() if token in may_come}
    if not choices:
        return int(rng.choice(allowed))
    is_in_string = re.sub(rb"\\.", b"", spelled, flags=re.DOTALL).count(b'"') % 2
    for piece in (b'"',) if is_in_string else (b"}", b"]", b",", b'"'):
        if piece in choices:
            return choices[piece]
    others = [token for piece, token in choices.items() if piece not in {b"[", b"{", b"\\"}]
    digits = [token for piece, token in choices.items() if piece.isdigit()]
    if digits and rng.random() < 0.7:
        return int(rng.choice(digits))
    return int(rng.choice(others or list(choices.values())))


def _single_bytes(tokenizer: Tokenizer) -> dict[bytes, int]:
    pieces = {tokenizer.piece(token): token for token in range(tokenizer.vocab_size)}
    return {piece: token for piece, token in pieces.items() if len(piece) == 1}
