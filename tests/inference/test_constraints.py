"""Grammars over bytes: what they allow, force and end; what hostile ones come to."""

import json

import numpy as np
import pytest

from localllm.engines.echo import END, MARKER, VOCAB_SIZE, EchoTokenizer
from localllm.engines.job import TokenConstraint
from localllm.errors import EngineError, InvalidRequest
from localllm.inference.constraints.compiler import CACHED, ConstraintCompiler
from localllm.inference.constraints.patterns import foreign_class, repeated_length
from localllm.types import Constraint
from tests.inference.schemas import random_text


@pytest.fixture(scope="module")
def compiler() -> ConstraintCompiler:
    return ConstraintCompiler(EchoTokenizer())


def allowed(constraint: TokenConstraint) -> set[int]:
    logits = np.zeros(VOCAB_SIZE, np.float32)
    constraint.mask(logits)
    assert np.isneginf(logits[logits != 0.0]).all()
    return set(map(int, np.flatnonzero(logits == 0.0)))


def test_a_regex_from_its_first_character_to_its_last(compiler: ConstraintCompiler) -> None:
    constraint = compiler.compile(Constraint("regex", "a{2,3}"))
    assert allowed(constraint) == {ord("a")}
    assert constraint.forced() == [ord("a")] * 2
    for _ in range(2):
        assert not constraint.is_complete
        constraint.accept(ord("a"))
    assert allowed(constraint) == {ord("a"), END}
    constraint.accept(ord("a"))
    assert allowed(constraint) == {END}
    constraint.accept(END)
    assert [constraint.is_complete, constraint.forced()] == [True, []]


def test_the_mask_leaves_allowed_logits_alone(compiler: ConstraintCompiler) -> None:
    constraint = compiler.compile(Constraint("regex", "[b-d]"))
    logits = np.arange(VOCAB_SIZE, dtype=np.float32)
    constraint.mask(logits)
    assert [(i, float(v)) for i, v in enumerate(logits) if v > -np.inf] == [(98, 98.0), (99, 99.0), (100, 100.0)]


def test_a_token_that_may_not_come_is_an_engine_error(compiler: ConstraintCompiler) -> None:
    with pytest.raises(EngineError, match="forbids"):
        compiler.compile(Constraint("regex", "a")).accept(ord("b"))


def test_answers_do_not_share_their_place(compiler: ConstraintCompiler) -> None:
    one, other = (compiler.compile(Constraint("regex", "[ab]c")) for _ in range(2))
    one.accept(ord("a"))
    assert allowed(one) == {ord("c")}
    assert allowed(other) == {ord("a"), ord("b")}


def test_more_grammars_than_are_remembered(compiler: ConstraintCompiler) -> None:
    for _ in range(2):
        for code in range(97, 97 + CACHED + 3):
            assert allowed(compiler.compile(Constraint("regex", chr(code)))) == {code}


def test_lark_with_a_schema_inside(compiler: ConstraintCompiler) -> None:
    source = 'start: "<" value ">"\nvalue: %json {"type": "integer", "minimum": 10, "maximum": 12}'
    texts = {random_text(compiler.compile(Constraint("lark", source)), EchoTokenizer(), seed) for seed in range(20)}
    assert texts == {b"<10>", b"<11>", b"<12>"}


def test_control_tokens_are_never_produced(compiler: ConstraintCompiler) -> None:
    assert MARKER not in allowed(compiler.compile(Constraint("lark", f'start: <[{MARKER}]> | "a"')))
    with pytest.raises(InvalidRequest, match="no token"):
        allowed(compiler.compile(Constraint("lark", f"start: <[{MARKER}]>")))


@pytest.mark.parametrize(
    ("kind", "source", "words"),
    [
        ("regex", "(", "unclosed group"),
        ("regex", "(?=a)", "look-around"),
        ("regex", "\ud800", "half a character"),
        ("regex", "((a{1000}){1000}){1000}", "20000"),
        ("regex", "x" * 70_000, "64 KiB"),
        ("regex", "ä" * 40_000, "64 KiB"),
        ("regex", "(" * 30_000, "cannot be enforced"),
        ("lark", "", "no start rule"),
        ("lark", "start: foo", "unknown name"),
        ("lark", '{"grammars": [{"json_schema": {"not": {}}}]}', "cannot be enforced"),
        ("lark", 'start: start "a"', "nothing can follow"),
        ("lark", 'start: %json {"uniqueItems": true}', "uniqueItems"),
        ("lark", "start: %json {", "not JSON"),
        ("lark", 'start[temperature=0.5]: "a"', "temperature"),
        ("lark", '%llguidance {"no_forcing": false}\nstart: "a"', "%llguidance"),
        ("lark", "start: " + "(" * 20_000 + '"a"' + ")" * 20_000, "nested deeper"),
        ("lark", "start: A\nA: " + "~" * 20_000 + '"a"', "of ~"),
        ("lark", "start: a0\n" + "\n".join(f"a{i}: a{i + 1}" for i in range(4000)), "500 definitions"),
        ("json_schema", "{", "not valid JSON"),
        ("json_schema", '{"minimum": NaN}', "not valid JSON"),
        ("json_schema", '{"minimum": 1e999}', "not valid JSON"),
        ("json_schema", '{"const": "\\ud800"}', "not valid JSON"),
        ("json_schema", '{"items":' * 5000 + "{}" + "}" * 5000, "not valid JSON|nested deeper"),
        ("json_schema", '{"items":' * 100 + "{}" + "}" * 100, "nested deeper"),
        ("json_schema", '{"const":' + "[" * 100 + "]" * 100 + "}", "nested deeper"),
        ("json_schema", json.dumps({"enum": list(range(5000))}), "2000"),
        ("json_schema", json.dumps({"anyOf": [{"const": 1}] * 3000}), "more than 1000"),
        ("json_schema", json.dumps({"allOf": [{"anyOf": [{"minLength": i} for i in range(30)]}] * 4}), "combinations"),
        (
            "json_schema",
            json.dumps({"anyOf": [{"multipleOf": n} for n in (997, 991)]}),
            "common multiple",
        ),
        (
            "json_schema",
            json.dumps(
                {
                    "$ref": "#/$defs/d0",
                    "$defs": {f"d{i}": {"items": {"$ref": f"#/$defs/d{(i + 1) % 400}"}} for i in range(400)},
                }
            ),
            "at most 200",
        ),
    ],
)
def test_hostile_sources_are_refused(compiler: ConstraintCompiler, kind: str, source: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as raised:
        compiler.compile(Constraint(kind, source))  # type: ignore[arg-type]
    assert raised.value.param == "response_format"
    assert len(raised.value.message) < 600


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("regex", "x{20000}"),
        ("regex", "(a?){500}a{500}"),
        ("regex", r"\w{1,1000}\p{L}{500}"),
        ("regex", "([ab]*a[ab]{30}){20}"),
        ("lark", 'start: "a" start'),
        ("lark", 'start: E\nA: "a"{1000}\nB: A{1000}\nC: B{1000}\nE: C{1000}'),
        ("lark", "start: a30\na0: /x/\n" + "\n".join(f"a{i}: a{i - 1} a{i - 1}" for i in range(1, 31))),
        ("lark", 'start: a*\na: b+\nb: c* "x"\nc: a | /[a-z]{1,3}/ | ""'),
        ("json_schema", json.dumps({"type": "object", "properties": {f"p{i}": {} for i in range(400)}})),
        ("json_schema", json.dumps({"const": [["x" * 200] * 10] * 10})),
    ],
)
def test_grammars_without_measure_go_on_or_fail_alone(compiler: ConstraintCompiler, kind: str, source: str) -> None:
    """Each step ends; what becomes too complex is a refusal of this one answer."""
    rng = np.random.default_rng(1)
    steps = 0
    try:
        constraint = compiler.compile(Constraint(kind, source))  # type: ignore[arg-type]
        while steps < 100 and not constraint.is_complete:
            for token in constraint.forced()[:3] or [int(rng.choice(sorted(allowed(constraint))))]:
                constraint.accept(token)
            steps += 1
    except InvalidRequest:
        steps += 1
    assert steps > 0


@pytest.mark.parametrize(
    ("pattern", "length"),
    [("", 0), ("abc", 3), ("a{30}", 30), ("(ab{3}){2,9}", 8), ("[a-z{]{5}", 5), (r"\{3}", 3), (r"\p{L}{4}", 4)],
)
def test_repeated_length(pattern: str, length: int) -> None:
    assert repeated_length(pattern) == length


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("[a-z]", None), (r"[^\[\]&&]", "[^ee&&]"), (r"\[a&&b\]", None), ("[[:alpha:]]", "[[:alpha:]"), ("[]", "[]")],
)
def test_foreign_class(pattern: str, found: str | None) -> None:
    assert foreign_class(pattern) == found
