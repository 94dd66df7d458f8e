"""A JSON Schema checked keyword by keyword, and written anew in the words that llguidance enforces.

Everything a schema may say is enforced, known to be without effect, or refused with its place.
"""

import msgspec

from localllm.errors import InvalidRequest, UnsupportedField
from localllm.inference.constraints import values
from localllm.inference.constraints.disjoint import Disjointness
from localllm.inference.constraints.effort import check_effort
from localllm.inference.constraints.formats import FORMATS, LONGEST, PATTERNS
from localllm.inference.constraints.keywords import (
    ANNOTATIONS,
    APPLICATORS,
    HINTS,
    HONOURED,
    ROOT_ANNOTATIONS,
    SCHEMA_MAPS,
    SCHEMAS,
)
from localllm.inference.constraints.refusals import PARAM
from localllm.inference.constraints.values import Json, Refuse

MOST_NODES = 1000
DEEPEST = 64
MOST_REFERENCES = 200  # targets of $ref; llguidance follows chains of them on the native stack
MOST_PATTERNS = 256

Node = dict[str, Json]


def enforceable(source: str) -> Node:
    """The schema in `source` (JSON text), rewritten so that llguidance enforces all of it.

    Raises UnsupportedField for what cannot be enforced and InvalidRequest for what is no schema; both say where.
    """
    try:
        document: Json = msgspec.json.decode(source.encode("utf-8"))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"the schema is not valid JSON: {error}", param=PARAM) from error
    return SchemaReader(document).read()


class SchemaReader:
    """One walk over one schema."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._read: dict[str, Json] = {}  # by JSON pointer: the schemas met, rewritten
        self._references: dict[str, str] = {}  # target, and where it was named
        self._patterns = 0
        self._exclusive: list[tuple[str, list[Json]]] = []  # the branches of each oneOf

    def read(self) -> Node:
        """The schema, rewritten."""
        root = self._schema(self._document, "", 0)
        if root is False:
            raise self._fault("", "nothing satisfies the schema false")
        if len(self._references) > MOST_REFERENCES:
            raise self._fault("", f"$ref names {len(self._references)} schemas; at most {MOST_REFERENCES} are followed")
        for target, at in self._references.items():
            if target not in self._read:
                raise self._fault(at, f'"$ref": "#{target}" names nothing that is a schema in this document')
        disjointness = Disjointness(self._read)
        for at, branches in self._exclusive:
            clash = disjointness.clash(branches)
            if clash:
                raise self._cannot(
                    "oneOf",
                    at,
                    f"the branches {clash[0]} and {clash[1]} may both match; use anyOf, "
                    "or give each a required property with a const of its own",
                )
        check_effort(self._read, self._fault)
        return root if isinstance(root, dict) else {}

    def _schema(self, schema: Json, at: str, depth: int) -> Json:
        if not isinstance(schema, dict | bool):
            raise self._fault(at, "a schema is an object, true or false")
        if depth > DEEPEST:
            raise self._fault(at, f"nested deeper than {DEEPEST} schemas")
        if len(self._read) >= MOST_NODES:
            raise self._fault(at, f"more than {MOST_NODES} schemas in one")
        self._read[at] = schema  # holds the place in the count
        if isinstance(schema, bool):
            return schema
        self._check_names(schema, at)
        plain: Node = {}
        applied: Node = {}
        conjunction: list[Json] = []
        for name, value in schema.items():
            if name == "format":
                self._format(value, at, plain, conjunction)
            elif name == "pattern":
                plain["pattern"] = self._pattern(value, f"{at}/pattern")
            elif name in APPLICATORS:
                branches = self._schemas(value, f"{at}/{name}", depth)
                self._apply(name, branches, at, applied, conjunction)
            elif name in HONOURED:
                target = applied if name in {"$ref", "const", "enum"} else plain
                target[name] = self._keyword(name, value, at, depth)
        values.tidy_arrays(plain, self._refuser(at))
        if conjunction:
            applied["allOf"] = [*values.as_list(applied.get("allOf")), *conjunction]
        self._check_counts(plain, at)
        self._read[at] = written = {**plain, **applied}
        return written

    def _check_names(self, schema: Node, at: str) -> None:
        for name, value in schema.items():
            is_harmless = name in ANNOTATIONS or (name in ROOT_ANNOTATIONS and not at)
            if name in HONOURED or is_harmless or (name == "uniqueItems" and value is False):
                continue
            hint = HINTS.get(name)
            raise self._cannot(name, at, hint or ("" if name in HINTS else "leave it out, or check the prompt instead"))

    def _keyword(self, name: str, value: Json, at: str, depth: int) -> Json:
        here = f"{at}/{name}"
        if name in SCHEMA_MAPS:
            return self._map(name, value, here, depth)
        if name == "prefixItems" or (name == "items" and isinstance(value, list)):
            return self._schemas(value, here, depth)
        if name in SCHEMAS:
            return self._schema(value, here, depth + 1)
        if name == "$ref":
            return self._reference(value, here)
        return values.checked(name, value, self._refuser(here))

    def _schemas(self, value: Json, here: str, depth: int) -> list[Json]:
        if not isinstance(value, list) or not value:
            raise self._fault(here, "must be a list of schemas, and not empty")
        return [self._schema(branch, f"{here}/{index}", depth + 1) for index, branch in enumerate(value)]

    def _map(self, name: str, value: Json, here: str, depth: int) -> Node:
        if not isinstance(value, dict):
            raise self._fault(here, "must be an object of schemas")
        written: Node = {}
        for key, schema in value.items():
            at = f"{here}/{key.replace('~', '~0').replace('/', '~1')}"
            if name == "properties":
                values.literal(key, self._refuser(at))
            elif name == "patternProperties":
                self._pattern(key, at)
            written[key] = self._schema(schema, at, depth + 1)
        return written

    def _reference(self, value: Json, here: str) -> str:
        if not isinstance(value, str):
            raise self._fault(here, "must be text")
        if value != "#" and (not value.startswith("#/") or "~" in value or "%" in value or value.endswith("/")):
            raise self._cannot("$ref", here[: -len("/$ref")], f'"{value[:80]}" must look like "#/$defs/name"')
        self._references.setdefault(value[1:], here)
        return value

    def _pattern(self, value: Json, here: str) -> str:
        self._patterns += 1
        if self._patterns > MOST_PATTERNS:
            raise self._fault(here, f"more than {MOST_PATTERNS} patterns")
        return values.pattern(value, self._refuser(here))

    def _format(self, value: Json, at: str, plain: Node, conjunction: list[Json]) -> None:
        if not isinstance(value, str) or value not in FORMATS:
            raise self._cannot("format", at, f"{str(value)[:40]!r} is not among {', '.join(sorted(FORMATS))}")
        if value in PATTERNS:
            conjunction.append({"pattern": PATTERNS[value]})
        else:
            plain["format"] = value
        if value in LONGEST:
            conjunction.append({"maxLength": LONGEST[value]})

    def _apply(self, name: str, branches: list[Json], at: str, applied: Node, conjunction: list[Json]) -> None:
        """What anyOf and allOf say stands; oneOf becomes anyOf, once its branches are known to exclude each other."""
        if name == "oneOf":
            self._exclusive.append((at, branches))
            conjunction.append({"anyOf": branches})
        else:
            applied[name] = branches

    def _check_counts(self, plain: Node, at: str) -> None:
        least = plain.get("minProperties", 0)
        required = plain.get("required", [])
        if isinstance(least, int) and isinstance(required, list) and least - len(required) > 1:
            raise self._cannot(
                "minProperties", at, "beyond one more than the required properties: other names could come twice"
            )

    def _refuser(self, at: str) -> Refuse:
        return lambda message: self._fault(at, message)

    def _cannot(self, name: str, at: str, why: str) -> UnsupportedField:
        return UnsupportedField(f'the keyword "{name}" at {at or "/"} cannot be enforced: {why}', param=PARAM)

    def _fault(self, at: str, message: str) -> InvalidRequest:
        return InvalidRequest(f"the schema at {at or '/'}: {message}", param=PARAM)
