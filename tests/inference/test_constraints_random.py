"""Whatever tokens are chosen, the text satisfies the schema."""

import json
import re
import unicodedata
from datetime import datetime

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from localllm.engines.echo import EchoTokenizer
from localllm.inference.constraints.compiler import ConstraintCompiler
from localllm.inference.constraints.values import Json
from localllm.types import Constraint
from tests.inference.schemas import random_schema, random_text

QUICK = 50
SLOW = 1000

checker = FormatChecker()


@checker.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


@checker.checks("time", raises=ValueError)
def is_time(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(f"2024-02-29T{value}"))


@checker.checks("hostname")
def is_hostname(value: object) -> bool:
    label = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
    return not isinstance(value, str) or (len(value) <= 253 and bool(re.fullmatch(rf"{label}(\.{label})*", value)))


@checker.checks("uri")
def is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]*", value))


@checker.checks("duration")
def is_duration(value: object) -> bool:
    return not isinstance(value, str) or bool(re.fullmatch(r"P(?=.)(\d+[YMWD])*(T(\d+[HMS])+)?", value))


@pytest.fixture(scope="module")
def compiler() -> ConstraintCompiler:
    return ConstraintCompiler(EchoTokenizer())


def check(compiler: ConstraintCompiler, schema: dict[str, Json], seed: int) -> str:
    text = random_text(compiler.compile(Constraint("json_schema", json.dumps(schema))), EchoTokenizer(), seed).decode()
    errors = list(Draft202012Validator(schema, format_checker=checker).iter_errors(json.loads(text)))
    assert not errors, (seed, schema, text, errors[0].message)
    return text


def run(compiler: ConstraintCompiler, seeds: range) -> None:
    texts = {check(compiler, random_schema(seed), seed) for seed in seeds}
    assert len(texts) > len(seeds) / 2
    assert any(unicodedata.category(char) == "Lu" for text in texts for char in text)


def test_random_walks_satisfy_their_schema(compiler: ConstraintCompiler) -> None:
    run(compiler, range(QUICK))


@pytest.mark.slow
def test_a_thousand_more(compiler: ConstraintCompiler) -> None:
    run(compiler, range(QUICK, QUICK + SLOW))


def test_any_object_is_one(compiler: ConstraintCompiler) -> None:
    for seed in range(20):
        text = random_text(compiler.compile(Constraint("json_object")), EchoTokenizer(), seed)
        assert isinstance(json.loads(text), dict)


def test_a_name_cannot_be_spelled_anew(compiler: ConstraintCompiler) -> None:
    r"""With \u escapes, "\u0061" would be another "a", of another type."""
    schema: dict[str, Json] = {
        "type": "object",
        "properties": {"a": {"type": "null"}},
        "additionalProperties": {"type": "integer"},
        "minProperties": 1,
    }
    with pytest.raises(Exception, match="min/maxProperties"):
        check(compiler, schema, 0)
    del schema["minProperties"]
    constraint = compiler.compile(Constraint("json_schema", json.dumps(schema)))
    for byte in b'{"':
        constraint.accept(byte)
    import numpy as np

    constraint.accept(ord("\\"))
    logits = np.zeros(258, np.float32)
    constraint.mask(logits)
    assert "".join(map(chr, np.flatnonzero(logits == 0))) == '"\\bfnrt'
