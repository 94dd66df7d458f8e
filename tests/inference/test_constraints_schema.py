"""JSON Schema keyword by keyword: enforced, without effect, or refused with its place."""

import json

import numpy as np
import pytest

from localllm.engines.echo import END, VOCAB_SIZE, EchoTokenizer
from localllm.errors import InvalidRequest, UnsupportedField
from localllm.inference.constraints.compiler import ConstraintCompiler
from localllm.inference.constraints.keywords import HONOURED
from localllm.types import Constraint


@pytest.fixture(scope="module")
def compiler() -> ConstraintCompiler:
    return ConstraintCompiler(EchoTokenizer())


def accepts(compiler: ConstraintCompiler, schema: object, text: str) -> bool:
    """Whether the grammar lets the text through, byte by byte, and an end after it."""
    constraint = compiler.compile(Constraint("json_schema", json.dumps(schema)))
    logits = np.zeros(VOCAB_SIZE, np.float32)
    for token in [*text.encode(), END]:
        logits.fill(0.0)
        constraint.mask(logits)
        if logits[token]:
            return False
        constraint.accept(token)
    return True


TREE = {"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}
TAGGED = {"a": {"const": 1}, "b": {"enum": [2, 3]}}
KINDS = [{"type": "object", "properties": {"k": tag}, "required": ["k"]} for tag in TAGGED.values()]
MAP = {"type": "object", "additionalProperties": {"type": "null"}}

ENFORCED: dict[str, tuple[object, str, str]] = {  # keyword: schema, a text that satisfies it, one that does not
    "$defs": (TREE, "[[],[[]]]", "[1]"),
    "$ref": ({"$ref": "#/definitions/n", "definitions": {"n": {"type": "null"}}}, "null", "1"),
    "additionalItems": (
        {"items": [{"type": "null"}], "additionalItems": {"const": 1}, "type": "array"},
        "[null,1]",
        "[null,2]",
    ),
    "additionalProperties": (MAP, '{"x":null}', '{"x":1}'),
    "allOf": ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]}, "4", "6"),
    "anyOf": ({"anyOf": [{"type": "null"}, {"const": "a"}]}, '"a"', '"b"'),
    "const": ({"const": {"a": [1, None]}}, '{"a":[1,null]}', '{"a":[1]}'),
    "definitions": ({"$ref": "#/definitions/n", "definitions": {"n": {"type": "null"}}}, "null", "{}"),
    "enum": ({"enum": ["a", 2]}, "2", '"2"'),
    "exclusiveMaximum": ({"type": "integer", "exclusiveMaximum": 5}, "4", "5"),
    "exclusiveMinimum": ({"type": "number", "exclusiveMinimum": 1.5}, "1.51", "1.5"),
    "format": ({"type": "string", "format": "date"}, '"2024-02-29"', '"2023-02-29"'),
    "items": ({"type": "array", "items": {"type": "boolean"}}, "[true]", "[0]"),
    "maxItems": ({"type": "array", "maxItems": 1}, "[1]", "[1,1]"),
    "maxLength": ({"type": "string", "maxLength": 2}, '"äö"', '"äöü"'),
    "maxProperties": ({**MAP, "maxProperties": 1}, '{"a":null}', '{"a":null,"b":null}'),
    "maximum": ({"type": "integer", "maximum": 5}, "5", "6"),
    "minItems": ({"type": "array", "minItems": 1}, "[1]", "[]"),
    "minLength": ({"type": "string", "minLength": 2}, '"ab"', '"a"'),
    "minProperties": ({**MAP, "minProperties": 1}, '{"a":null}', "{}"),
    "minimum": ({"type": "integer", "minimum": 5}, "5", "4"),
    "multipleOf": ({"type": "integer", "multipleOf": 3}, "-9", "10"),
    "oneOf": ({"oneOf": KINDS}, '{"k":3}', '{"k":4}'),
    "pattern": ({"type": "string", "pattern": "b+"}, '"abc"', '"ac"'),
    "patternProperties": ({"type": "object", "patternProperties": {"^x": {"type": "null"}}}, '{"x":null}', '{"x":1}'),
    "prefixItems": ({"type": "array", "prefixItems": [{"type": "null"}]}, "[null]", "[1]"),
    "properties": ({"type": "object", "properties": {"a": {"type": "null"}}}, '{"a":null}', '{"a":1}'),
    "required": ({"type": "object", "required": ["a"]}, '{"a":1}', "{}"),
    "type": ({"type": ["null", "integer"]}, "7", "7.5"),
}


def test_the_table_is_whole() -> None:
    assert set(ENFORCED) == HONOURED


@pytest.mark.parametrize("keyword", sorted(ENFORCED))
def test_enforced(compiler: ConstraintCompiler, keyword: str) -> None:
    schema, good, bad = ENFORCED[keyword]
    assert accepts(compiler, schema, good)
    assert not accepts(compiler, schema, bad)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "null", "title": "t", "description": "d", "default": 1, "examples": [1], "$comment": "c"},
        {"type": "null", "$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://example.com/x"},
        {"type": "null", "deprecated": True, "readOnly": True, "writeOnly": False, "uniqueItems": False},
    ],
)
def test_without_effect(compiler: ConstraintCompiler, schema: object) -> None:
    assert accepts(compiler, schema, "null")
    assert not accepts(compiler, schema, "1")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("$anchor", "a"),
        ("$dynamicRef", "#a"),
        ("$recursiveRef", "#"),
        ("$id", "https://example.com/deeper"),
        ("$ref", "https://example.com/elsewhere"),
        ("$ref", "#a"),
        ("$vocabulary", {}),
        ("contains", {"type": "null"}),
        ("contentEncoding", "base64"),
        ("contentMediaType", "text/plain"),
        ("dependencies", {}),
        ("dependentRequired", {"a": ["b"]}),
        ("dependentSchemas", {"a": {}}),
        ("else", {}),
        ("format", "iri"),
        ("format", "unknown"),
        ("if", {}),
        ("maxContains", 1),
        ("minContains", 1),
        ("minProperties", 2),
        ("not", {"type": "null"}),
        ("nullable", True),
        ("oneOf", [{"type": "number"}, {"type": "integer"}]),
        ("oneOf", [{"type": "string"}, {}]),
        ("propertyNames", {"pattern": "a"}),
        ("then", {}),
        ("unevaluatedItems", False),
        ("unevaluatedProperties", False),
        ("uniqueItems", True),
        ("x-guidance", {"lenient": True}),
        ("requierd", ["a"]),
    ],
)
def test_refused_by_name_and_place(compiler: ConstraintCompiler, keyword: str, value: object) -> None:
    schema = {"type": "object", "properties": {"tags": {keyword: value}}}
    with pytest.raises(UnsupportedField) as raised:
        compiler.compile(Constraint("json_schema", json.dumps(schema)))
    assert raised.value.message.startswith(f'the keyword "{keyword}" at /properties/tags cannot be enforced')
    assert raised.value.param == "response_format"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (False, "nothing satisfies"),
        ([], "a schema is an object"),
        ({"$ref": "#"}, "nothing can follow"),
        ({"$ref": "#/$defs/none"}, "names nothing that is a schema"),
        ({"$ref": "#/default", "default": {"not": {}}}, "names nothing that is a schema"),
        ({"type": "int"}, "'int'"),
        ({"type": []}, "no type"),
        ({"enum": []}, "1 to 2000"),
        ({"minimum": "3"}, "must be a number"),
        ({"exclusiveMinimum": True, "minimum": 3}, "must be a number"),
        ({"const": 2**60}, "at most"),
        ({"const": "\x01"}, "control character"),
        ({"properties": {"\x7f": {}}}, "control character"),
        ({"minLength": -1}, "whole number"),
        ({"maxItems": 10**9}, "4096"),
        ({"multipleOf": 0}, "more than 0"),
        ({"multipleOf": 100003}, "at most 1000"),
        ({"required": "a"}, "list of names"),
        ({"anyOf": []}, "not empty"),
        ({"pattern": "(?=a)"}, "look-around"),
        ({"pattern": "(a)\\1"}, "backreferences"),
        ({"pattern": "[a&&b]"}, "ambiguous"),
        ({"pattern": "((a{1000}){1000}){1000}"}, "20000"),
        ({"type": "array", "additionalItems": {}}, "additionalItems"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "'a'"),
    ],
)
def test_what_is_no_schema_or_allows_nothing(compiler: ConstraintCompiler, schema: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        compiler.compile(Constraint("json_schema", json.dumps(schema)))


def test_branches_that_exclude_each_other_through_references(compiler: ConstraintCompiler) -> None:
    """What Pydantic writes for a discriminated union."""
    schema = {
        "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
        "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/cat", "dog": "#/$defs/dog"}},
        "$defs": {
            kind: {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}
            for kind in ("cat", "dog")
        },
    }
    assert accepts(compiler, schema, '{"kind":"dog"}')
    assert not accepts(compiler, schema, '{"kind":"cow"}')


def test_no_whitespace_outside_strings(compiler: ConstraintCompiler) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array"}}}
    assert accepts(compiler, schema, '{"a":[1,"x y"]}')
    for text in ('{ "a":[]}', '{"a": []}', '{"a":[1, 2]}', '{"a":[]} ', ' {"a":[]}'):
        assert not accepts(compiler, schema, text)
