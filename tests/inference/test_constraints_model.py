"""Grammars over the starter model's own vocabulary."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from localllm.engines.base import Runner, Tokenizer
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.inference.constraints.compiler import ConstraintCompiler
from localllm.inference.constraints.vocabulary import Vocabulary
from localllm.models.local import LocalModel
from localllm.types import Constraint
from tests.inference.schemas import random_schema, random_text

pytestmark = pytest.mark.real_model


@pytest.fixture(scope="module")
def runner(starter_model: LocalModel) -> Iterator[Runner]:
    plan = LoadPlan(engine="llama_cpp", path=starter_model.path, threads=1, max_jobs=1, context_tokens=64)
    loaded = load_runner(plan, lambda _: None)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def tokenizer(runner: Runner) -> Tokenizer:
    return runner.tokenizer


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> ConstraintCompiler:
    return ConstraintCompiler(tokenizer)


def allowed(constraint: object, tokenizer: Tokenizer) -> set[int]:
    logits = np.zeros(tokenizer.vocab_size, np.float32)
    constraint.mask(logits)  # type: ignore[attr-defined]
    return set(map(int, np.flatnonzero(logits == 0.0)))


@pytest.mark.slow
def test_random_walks_satisfy_their_schema(compiler: ConstraintCompiler, tokenizer: Tokenizer) -> None:
    for seed in range(12):
        schema = random_schema(seed)
        constraint = compiler.compile(Constraint("json_schema", json.dumps(schema)))
        text = random_text(constraint, tokenizer, seed, patience=20).decode()
        Draft202012Validator(schema).validate(json.loads(text))


def test_forced_tokens_are_the_forced_text_and_allowed(compiler: ConstraintCompiler, tokenizer: Tokenizer) -> None:
    names = ["first name", "größe", "third"]
    schema: dict[str, object] = {
        "properties": {name: {"type": "boolean"} for name in names},
        "required": names,
        "type": "object",
    }
    schema["additionalProperties"] = False
    constraint = compiler.compile(Constraint("json_schema", json.dumps(schema)))
    spelled = b""
    forced_tokens = 0
    while not constraint.is_complete and len(spelled) < 200:
        forced = constraint.forced()
        for token in forced:
            assert token in allowed(constraint, tokenizer)
            constraint.accept(token)
            spelled += tokenizer.piece(token)
        forced_tokens += len(forced)
        if not forced:
            choices = allowed(constraint, tokenizer)
            token = min(choices)
            constraint.accept(token)
            spelled += tokenizer.piece(token)
    assert forced_tokens > 5
    assert list(json.loads(spelled))[:3] == names


def test_every_end_token_ends_and_no_other_control_token_comes(
    compiler: ConstraintCompiler, tokenizer: Tokenizer
) -> None:
    constraint = compiler.compile(Constraint("regex", "(?s:.*)"))
    control = {token for token in range(tokenizer.vocab_size) if not tokenizer.piece(token)}
    assert len(tokenizer.end_tokens) > 1
    assert allowed(constraint, tokenizer) & control == tokenizer.end_tokens
    for end in tokenizer.end_tokens:
        compiler.compile(Constraint("regex", "a?")).accept(end)


def test_text_is_tokenized_to_its_own_bytes(tokenizer: Tokenizer) -> None:
    vocabulary = Vocabulary(tokenizer)
    for text in ('{"name":', "größe", " two words", "\n\n"):
        tokens = vocabulary.encode(text)
        assert b"".join(map(tokenizer.piece, tokens)) == text.encode()
