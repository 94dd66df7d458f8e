"""The fields that ask for an answer of a given form: OpenAI's `response_format` and vLLM's `structured_outputs`.

A schema itself is checked in the worker, where it is compiled.
"""

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from localllm.errors import InvalidRequest
from localllm.types import Constraint

MAX_CHOICES = 1000

Schema = dict[str, msgspec.Raw]


class TextFormat(Struct, frozen=True, tag="text", tag_field="type", forbid_unknown_fields=True):
    """No constraint."""


class JsonObjectFormat(Struct, frozen=True, tag="json_object", tag_field="type", forbid_unknown_fields=True):
    """Any JSON object."""


class JsonSchema(Struct, frozen=True, forbid_unknown_fields=True):
    """A named schema. It is enforced whole, whatever `strict` says: false or left out loosens nothing."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: Schema | None = None  # left out: any JSON object
    description: str | None = None  # for people; the model does not see it
    strict: bool | None = None


class JsonSchemaFormat(Struct, frozen=True, tag="json_schema", tag_field="type", forbid_unknown_fields=True):
    """JSON that satisfies a schema."""

    json_schema: JsonSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StructuredOutputs(Struct, frozen=True, forbid_unknown_fields=True):
    """One of these; vLLM's names. The grammar is in llguidance's Lark dialect."""

    json: Schema | str | None = None
    regex: str | None = None
    choice: Annotated[list[str], Meta(min_length=1, max_length=MAX_CHOICES)] | None = None
    grammar: str | None = None


def constraint_of(
    response_format: ResponseFormat | None, structured_outputs: StructuredOutputs | None
) -> Constraint | None:
    """What the answer must match; None: anything. Raises InvalidRequest when more than one thing is asked."""
    asked = _of_format(response_format)
    outputs = _of_outputs(structured_outputs) if structured_outputs is not None else None
    if asked is not None and outputs is not None:
        raise InvalidRequest(
            "response_format and structured_outputs both constrain the answer; send one", param="structured_outputs"
        )
    return asked or outputs


def _of_format(response_format: ResponseFormat | None) -> Constraint | None:
    match response_format:
        case JsonObjectFormat():
            return Constraint("json_object")
        case JsonSchemaFormat(json_schema=JsonSchema(schema=None)):
            return Constraint("json_object")
        case JsonSchemaFormat(json_schema=JsonSchema(schema=schema)):
            return Constraint("json_schema", _text(schema))
    return None


def _of_outputs(outputs: StructuredOutputs) -> Constraint:
    given = [name for name in outputs.__struct_fields__ if getattr(outputs, name) is not None]
    if len(given) != 1:
        raise InvalidRequest(
            f"structured_outputs: exactly one of json, regex, choice and grammar, not {' and '.join(given) or 'none'}",
            param="structured_outputs",
        )
    if outputs.json is not None:
        return Constraint("json_schema", outputs.json if isinstance(outputs.json, str) else _text(outputs.json))
    if outputs.regex is not None:
        return Constraint("regex", outputs.regex)
    if outputs.choice is not None:
        return Constraint("regex", "|".join(map(_literal, dict.fromkeys(outputs.choice))))
    return Constraint("lark", outputs.grammar or "")


def _text(schema: Schema | None) -> str:
    """The schema as it was sent, member by member, in the same order."""
    return msgspec.json.encode(schema).decode()


def _literal(text: str) -> str:
    """A regular expression that matches this text alone; an empty one would end the answer before it began."""
    if not text:
        raise InvalidRequest("structured_outputs: a choice is empty", param="structured_outputs.choice")
    return re.sub(r"[^\w\s]|\n", lambda found: f"\\x{{{ord(found[0]):x}}}", text)
