"""response_format and structured_outputs: what they ask for, and what they may not say together."""

import json
import re

import msgspec
import pytest

from localllm.api.body import decode_body
from localllm.api.openai.response_format import ResponseFormat, StructuredOutputs, constraint_of
from localllm.errors import InvalidRequest
from localllm.types import Constraint


class Body(msgspec.Struct, kw_only=True):
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None


def asked(**fields: object) -> Constraint | None:
    body = decode_body(json.dumps(fields).encode(), Body, ignored=(), refused={})
    return constraint_of(body.response_format, body.structured_outputs)


def schema_format(**fields: object) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, **fields}}


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Constraint("json_object")),
        ({"response_format": schema_format()}, Constraint("json_schema", '{"type":"object"}')),
        ({"response_format": schema_format(strict=False)}, Constraint("json_schema", '{"type":"object"}')),
        (
            {"response_format": schema_format(strict=True, description="x")},
            Constraint("json_schema", '{"type":"object"}'),
        ),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, Constraint("json_object")),
        ({"structured_outputs": {"json": {"b": 1, "a": 2}}}, Constraint("json_schema", '{"b":1,"a":2}')),
        ({"structured_outputs": {"json": '{"type":"null"}'}}, Constraint("json_schema", '{"type":"null"}')),
        ({"structured_outputs": {"regex": "a+"}}, Constraint("regex", "a+")),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, Constraint("lark", 'start: "a"')),
        (
            {"response_format": {"type": "text"}, "structured_outputs": {"regex": "a"}},
            Constraint("regex", "a"),
        ),
    ],
)
def test_what_is_asked_for(fields: dict[str, object], constraint: Constraint | None) -> None:
    assert asked(**fields) == constraint


def test_choices_match_themselves_alone() -> None:
    choices = ["yes", "no.", "a|b", "(x", "ä\nö", "[0-9]{2}", "\\d"]
    constraint = asked(structured_outputs={"choice": choices})
    assert constraint is not None
    assert constraint.kind == "regex"
    branches = constraint.source.split("|")
    assert len(branches) == len(choices)
    for branch, choice in zip(branches, choices, strict=True):
        plain = re.sub(r"\\x\{([0-9a-f]+)\}", lambda found: chr(int(found[1], 16)), branch)
        assert plain == choice


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type", "xml"),
        ({"response_format": {"type": "json_object", "schema": {}}}, "response_format.schema", "unknown"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing"),
        ({"response_format": schema_format(name="no spaces")}, "response_format.json_schema.name", "matching"),
        ({"response_format": schema_format(name="a" * 65)}, "response_format.json_schema.name", "matching"),
        ({"response_format": schema_format(schema=3)}, "response_format.json_schema.schema", "object"),
        ({"response_format": schema_format(loose=True)}, "response_format.json_schema.loose", "unknown"),
        ({"structured_outputs": {}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {"regex": "a", "json": {}}}, "structured_outputs", "json and regex"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "length"),
        ({"structured_outputs": {"choice": [""]}}, "structured_outputs.choice", "empty"),
        ({"structured_outputs": {"json_object": True}}, "structured_outputs.json_object", "unknown"),
        (
            {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
            "structured_outputs",
            "both",
        ),
    ],
)
def test_what_is_refused(fields: dict[str, object], param: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as raised:
        asked(**fields)
    assert raised.value.param == param
