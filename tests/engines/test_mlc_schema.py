"""Which schemas MLC's grammars hold an answer to, as far as that is known; every other is refused by name."""

import json

import pytest

from localllm.engines.mlc.schema import checked_schema
from localllm.errors import InvalidRequest

PERSON = {
    "$defs": {"name": {"type": "string", "description": "what they are called"}},
    "type": "object",
    "properties": {
        "name": {"$ref": "#/$defs/name"},
        "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "likes": {"type": "array", "items": {"enum": ["bread", "boats"], "type": "string"}},
        "kind": {"const": "person"},
        "parent": {"$ref": "#"},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def test_what_is_held() -> None:
    source = json.dumps(PERSON)
    assert checked_schema(source) == source
    assert checked_schema("true") == "true"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("{", "the schema is no JSON"),
        ("false", "# of the schema is no object"),
        ({"type": "string", "minLength": 3}, "at # of the schema: MLC holds no answer to 'minLength'"),
        ({"type": "object", "properties": {"a": {"pattern": "x"}}}, "at #/properties/a .* no answer to 'pattern'"),
        ({"anyOf": [{"not": {}}]}, "at #/anyOf/0 of the schema: MLC holds no answer to 'not'"),
        ({"type": ["string", "null"]}, "takes one name as type"),
        ({"type": "text"}, "takes one name as type"),
        ({"type": "object"}, 'makes of this an empty object; add "additionalProperties": true'),
        ({"type": "array"}, 'makes of this an empty array; add "items": true'),
        ({"type": "object", "properties": {"a": True}, "required": ["b"]}, "requires only .* not 'b'"),
        ({"$ref": "https://example.com/x"}, "follows a .ref within the schema alone"),
        ({"$ref": "#/$defs/gone"}, "finds nothing at the .ref"),
        ({"$ref": "#", "type": "string"}, "does not look at type beside .ref"),
        ({"anyOf": [True], "properties": {"a": True}}, "does not look at properties beside anyOf"),
        ({"enum": []}, "wants a list of values as enum"),
        ({"enum": ["a", 1], "type": "string"}, "does not look at the type beside enum"),
        ({"const": True, "type": "integer"}, "does not look at the type beside const"),
        ({"properties": []}, "wants an object as properties"),
        ({"anyOf": []}, "wants a list of schemas as anyOf"),
    ],
)
def test_what_is_not(schema: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        checked_schema(schema if isinstance(schema, str) else json.dumps(schema))
    assert caught.value.param == "response_format"


def test_a_schema_without_end() -> None:
    source = '{"type": "array", "items": ' * 1000 + "true" + "}" * 1000
    with pytest.raises(InvalidRequest, match=r"levels deep|no JSON"):
        checked_schema(source)
