"""Grammars in llguidance's Lark dialect: what could exhaust its parser is refused, embedded schemas are checked."""

import json
import re

from localllm.errors import InvalidRequest, UnsupportedField
from localllm.inference.constraints.refusals import PARAM
from localllm.inference.constraints.schema import enforceable
from localllm.inference.constraints.values import Json

MOST_DEFINITIONS = 500  # llguidance follows them, one naming the next, on the native stack
DEEPEST = 64  # brackets
MOST_NEGATIONS = 64

# The longest text that is forced can be as long as 2 to the power of the definitions; llguidance would write it out.
UNFORCED = '%llguidance {"no_forcing": true}\n'

_DEFINITION = re.compile(r"[\w\]}]\s*:")
_EMBEDDED = re.compile(r"%json\s*(?=\{)")
_TEMPERATURE = re.compile(r"[\[,]\s*temperature\s*=")


def prepared(source: str, options: dict[str, Json]) -> str:
    """The grammar, each `%json` in it rewritten by `enforceable` and compiled with `options`.

    Raises InvalidRequest and UnsupportedField.
    """
    if _TEMPERATURE.search(source):
        raise UnsupportedField("grammar: a rule's temperature has no effect here; set the request's", param=PARAM)
    if "%llguidance" in source:  # a second one would undo UNFORCED
        raise UnsupportedField("grammar: %llguidance options cannot be set by a request", param=PARAM)
    text = _with_schemas(source, options)
    bare = _EMBEDDED.sub("", source)
    if len(_DEFINITION.findall(bare)) > MOST_DEFINITIONS and len(_DEFINITION.findall(text)) > MOST_DEFINITIONS:
        raise InvalidRequest(f"grammar: more than {MOST_DEFINITIONS} definitions", param=PARAM)
    if _deepest(text) > DEEPEST:
        raise InvalidRequest(f"grammar: brackets nested deeper than {DEEPEST}", param=PARAM)
    if text.count("~") > MOST_NEGATIONS:
        raise InvalidRequest(f"grammar: more than {MOST_NEGATIONS} of ~", param=PARAM)
    return UNFORCED + text


def _with_schemas(source: str, options: dict[str, Json]) -> str:
    parts = []
    at = 0
    for found in _EMBEDDED.finditer(source):
        if found.start() < at:
            continue  # inside a schema
        try:
            _, end = json.JSONDecoder().raw_decode(source, found.end())
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"grammar: what follows %json is not JSON: {error}", param=PARAM) from error
        schema = {**enforceable(source[found.end() : end]), "x-guidance": options}
        parts += [source[at : found.end()], json.dumps(schema)]
        at = end
    return "".join([*parts, source[at:]])


def _deepest(text: str) -> int:
    depth = deepest = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth = max(depth - 1, 0)
    return deepest
