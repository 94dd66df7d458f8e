"""OpenVINO's pipeline under the contract of engines, on a tiny random model."""

import json
import math
import re
import tempfile
from collections.abc import Generator
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from localllm.engines.base import Batch, Engine, Runner
from localllm.engines.job import Job
from localllm.engines.kind import is_pipeline, is_runner
from localllm.engines.pipeline import Pipeline
from localllm.engines.plan import LoadPlan, Placement
from localllm.engines.registry import kind_of, load_engine, load_runner
from localllm.errors import ConfigError, EngineUnavailable, InvalidRequest, LoadFailed, ModelError, UnsupportedField
from localllm.inference.batcher import Batcher
from localllm.inference.pipelined import PipelinedEngine
from localllm.models.local import LocalModel
from localllm.types import Constraint, Sampling, TextRequest
from localllm.worker.handle import WorkerHandle
from tests.engines.contract import Answer, EngineContract, ask, drain, tokens
from tests.engines.openvino_models import skip_without_openvino
from tests.tiny import write_tiny_model

skip_without_openvino()


def plan(path: Path, **fields: object) -> LoadPlan:
    given = {"engine": "openvino", "path": str(path), "threads": 1, "max_jobs": 4, **fields}
    return LoadPlan(**given)  # type: ignore[arg-type]


def load(path: Path, **fields: object) -> PipelinedEngine:
    loaded = load_engine(plan(path, **fields), lambda _: None)
    assert is_pipeline(loaded)
    return PipelinedEngine(loaded)


@pytest.fixture(scope="module")
def shared_engine(tiny_model: Path) -> Generator[PipelinedEngine, None, None]:
    engine = load(tiny_model)
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: PipelinedEngine) -> PipelinedEngine:
    """Used by all tests in turn, as a server uses it: each must leave it idle."""
    assert not shared_engine.is_busy
    return shared_engine


class TestOpenVino(EngineContract):
    """The contract."""

    def check_undisturbed(self, text: str, alone: str) -> None:
        """Kernels round a row otherwise among others, and random weights turn at once: only the beginning counts."""
        assert text[:1] == alone[:1]

    def test_a_known_prefix_is_not_read_again(self, engine: Engine) -> None:
        """It is not, but OpenVINO does not tell; so 0 is said, and the answer is the same."""
        text = "a prompt that is long enough to be worth keeping " * 3
        first, again = ask(engine, text, max_tokens=4), ask(engine, text, max_tokens=4)
        assert first.usage is not None
        assert again.usage is not None
        assert again.usage.cached_tokens == 0
        assert again.text[:1] == first.text[:1]


def test_it_says_what_it_is(engine: PipelinedEngine) -> None:
    assert engine.info.engine == "openvino"
    assert engine.info.build.startswith("openvino-genai 20")
    assert engine.info.device == "cpu"
    assert engine.info.max_jobs == 4
    assert engine.info.context_tokens == 1024
    assert engine.info.has_chat_template


@pytest.mark.parametrize("name", ["frequency_penalty", "presence_penalty", "typical_p", "mirostat", "repeat_last_n"])
def test_what_acts_otherwise_there_is_refused_by_name(engine: PipelinedEngine, name: str) -> None:
    with pytest.raises(UnsupportedField, match=name):
        ask(engine, "x", **{name: {"mirostat": 2, "repeat_last_n": 5}.get(name, 0.5)})  # type: ignore[arg-type]


def test_parallel_jobs_do_not_disturb_a_seed(engine: PipelinedEngine) -> None:
    def texts(others: int) -> str:
        answers: dict[int, Answer] = {}
        for job_id in range(others + 1):
            sampling = Sampling(temperature=0.9, top_k=2, seed=7 + job_id, max_tokens=3, ignore_eos=True)
            engine.start(Job(id=job_id, tokens=tokens(engine, "The river"), sampling=sampling))
        drain(engine, answers)
        return answers[0].text

    assert texts(0) == texts(3)


def test_top_k_of_one_is_greedy(engine: PipelinedEngine) -> None:
    greedy = ask(engine, "The river", max_tokens=8, ignore_eos=True).text
    assert ask(engine, "The river", max_tokens=8, ignore_eos=True, temperature=1.5, top_k=1, seed=1).text == greedy
    assert ask(engine, "The river", max_tokens=8, ignore_eos=True, temperature=1.5, min_p=1.0, seed=1).text == greedy
    assert ask(engine, "The river", max_tokens=8, ignore_eos=True, temperature=1.5, top_p=1e-6, seed=1).text == greedy


def test_an_unseeded_answer_differs(engine: PipelinedEngine) -> None:
    assert len({ask(engine, "The river", temperature=2.0, max_tokens=12).text for _ in range(6)}) > 1


def test_a_repeat_penalty_keeps_tokens_from_coming_again(engine: PipelinedEngine) -> None:
    engine.start(
        Job(
            id=1,
            tokens=tokens(engine, "a"),
            sampling=Sampling(temperature=0.0, repeat_penalty=1e6, max_tokens=40, ignore_eos=True),
        )
    )
    said: list[int] = []
    while engine.is_busy:
        engine._admit()
        for emission in engine._pipeline.step():
            said += emission.tokens
            if emission.finish:
                engine.cancel(1)
    assert len(said) == 40
    assert len(set(said)) == 40


def test_logprobs_are_of_the_raw_distribution(engine: PipelinedEngine, tiny_model: Path) -> None:
    """Held against llama.cpp's logits, also where a temperature and a truncation act."""
    prompt = tokens(engine, "The river carried small boats")
    runner = load_runner(LoadPlan(engine="llama_cpp", path=str(tiny_model), threads=1, max_jobs=1), lambda _: None)
    batch = Batch(len(prompt))
    batch.add(0, 0, prompt, logits=1)
    logits = runner.decode(batch)[0].astype(np.float64)
    expected = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    runner.close()
    for fields in ({"temperature": 0.0}, {"temperature": 0.3, "top_k": 3, "seed": 3}, {"temperature": 2.0, "seed": 4}):
        pipeline = engine._pipeline
        sampling = Sampling(logprobs=0, max_tokens=1, ignore_eos=True, **fields)  # type: ignore[arg-type]
        pipeline.start(Job(id=9, tokens=prompt, sampling=sampling), 1)
        emission = pipeline.step()[0]
        pipeline.cancel(9)
        assert math.isclose(emission.logprobs[0], expected[emission.tokens[0]], abs_tol=0.1)


def test_more_log_probabilities_are_refused_and_nobody_else_is_hurt(engine: PipelinedEngine) -> None:
    engine.start(Job(id=1, tokens=tokens(engine, "x"), sampling=Sampling(max_tokens=3, logprobs=2)))
    engine.start(Job(id=2, tokens=tokens(engine, "x"), sampling=Sampling(max_tokens=3, ignore_eos=True)))
    answers: dict[int, Answer] = {}
    drain(engine, answers)
    assert answers[2].finish == "length"
    assert [(job, type(error), error.param) for job, error in engine.take_faults()] == [
        (1, UnsupportedField, "logprobs")
    ]


def test_cancelled_jobs_leave_their_room_to_the_next(tiny_model: Path) -> None:
    """One job fills all there is, again and again."""
    engine = load(tiny_model, max_jobs=1, context_tokens=1024)
    prompt = (tokens(engine, "word ") * 1024)[:1000]
    for turn in range(6):
        shifted = (turn + 3, *prompt[1:])  # so that nothing is shared
        engine.start(Job(id=1, tokens=shifted, sampling=Sampling(temperature=0.0, ignore_eos=True)))
        for _ in range(30):
            engine.step()
        engine.cancel(1)
    assert ask(engine, "hello", max_tokens=3, ignore_eos=True).finish == "length"
    engine.close()


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["cat", "dog"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "kind", "tags"],
    "additionalProperties": False,
}


def held(engine: PipelinedEngine, kind: str, source: str = "", **fields: object) -> Answer:
    sampling = Sampling(**{"temperature": 1.0, "max_tokens": 400, **fields})  # type: ignore[arg-type]
    wanted = Constraint(kind, source)  # type: ignore[arg-type]
    engine.start(Job(id=1, tokens=tokens(engine, "x"), sampling=sampling, wanted=wanted))
    answers: dict[int, Answer] = {}
    drain(engine, answers)
    faults = engine.take_faults()
    if faults:
        raise faults[0][1]
    return answers[1]


@pytest.mark.parametrize("seed", range(6))
def test_an_answer_is_held_to_a_schema(engine: PipelinedEngine, seed: int) -> None:
    answer = held(engine, "json_schema", json.dumps(SCHEMA), seed=seed)
    if answer.finish == "length":  # a name without an end
        return
    jsonschema.validate(json.loads(answer.text), SCHEMA)


KEYWORDS = (
    {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
    {"const": {"a": [1, None]}},
    {"enum": ["x", 3, None, False]},
    {"type": ["boolean", "null"]},
    {"type": "integer", "minimum": -5, "maximum": 17},
    {"type": "number", "minimum": 0.5, "maximum": 2},
    {"type": "array", "prefixItems": [{"type": "boolean"}, {"const": 2}], "items": False},
    {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 4},
    {"$ref": "#/$defs/pair", "$defs": {"pair": {"type": "array", "items": {"const": 0}, "minItems": 2, "maxItems": 2}}},
    {"type": "object", "additionalProperties": {"type": "boolean"}},
    {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["b"]},
    {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": True},
)


@pytest.mark.parametrize("schema", KEYWORDS, ids="+".join)
def test_every_keyword_is_held_to(engine: PipelinedEngine, schema: dict[str, object]) -> None:
    for seed in range(8):
        answer = held(engine, "json_schema", json.dumps(schema), seed=seed, max_tokens=150)
        if answer.finish == "stop":
            jsonschema.validate(json.loads(answer.text), schema)


def test_an_answer_is_held_to_a_regular_expression(engine: PipelinedEngine) -> None:
    for source in (r"\d{4}-\d{2}", r"^(ab|cd)+e$", r"[a-f]{3,5}"):
        answer = held(engine, "regex", source, seed=1)
        assert answer.finish == "length" or re.fullmatch(source, answer.text)


def test_an_answer_is_held_to_any_object(engine: PipelinedEngine) -> None:
    answer = held(engine, "json_object", seed=2, max_tokens=900)
    assert answer.finish == "length" or isinstance(json.loads(answer.text), dict)
    assert answer.text.lstrip().startswith("{")


@pytest.mark.parametrize(
    ("kind", "source", "words"),
    [
        ("lark", "start: /a/", "holds no answer to a lark"),
        ("regex", "[z-a", "no regular expression"),
        ("regex", "(?=a)b", r"does not hold answers to '\(\?'"),
        ("regex", r"(a)\1", "does not hold"),
        ("json_schema", "{", "is no JSON"),
        ("json_schema", "[]", "is an object"),
        ("json_schema", '{"type": "nonsense"}', "does not compile.*nonsense"),
        ("json_schema", '{"$ref": "#/$defs/nowhere"}', "does not compile"),
        ("json_schema", '{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ("json_schema", '{"not": {}}', "'not'"),
        ("json_schema", '{"type": "string", "maxLength": 5}', "maxLength"),
        ("json_schema", '{"minimum": 3}', "'minimum' in a JSON Schema needs the type integer or number"),
        ("json_schema", '{"$ref": "#/$defs/a", "type": "null", "$defs": {"a": {}}}', "'type' beside '.ref'"),
        ("json_schema", '{"type": "object", "required": ["z"]}', "'z' is required and not among"),
        ("json_schema", '{"type": "array", "items": ' * 40 + "{}" + "}" * 40, "levels deep"),
    ],
)
def test_what_cannot_be_held_is_refused_and_nobody_else_is_hurt(
    engine: PipelinedEngine, kind: str, source: str, words: str
) -> None:
    engine.start(
        Job(id=5, tokens=tokens(engine, "other"), sampling=Sampling(temperature=0.0, max_tokens=6, ignore_eos=True))
    )
    engine.step()
    try:
        with pytest.raises(InvalidRequest, match=words):
            held(engine, kind, source)
    finally:
        answers: dict[int, Answer] = {}
        drain(engine, answers)
    assert ask(engine, "still here", max_tokens=3, ignore_eos=True).finish == "length"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"context_tokens": 4096}, r"trained for a context of 1024 tokens, 4096 were asked for"),
        ({"context_tokens": 1024, "max_jobs": 10**7}, "lower --context or --parallel"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_model: Path, fields: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load(tiny_model, **fields)


@pytest.mark.parametrize(("device", "words"), [("GPU.7", "finds no device 'GPU.7'"), ("TPU", "it knows CPU, GPU")])
def test_an_absent_device_is_named(tiny_model: Path, device: str, words: str) -> None:
    with pytest.raises(EngineUnavailable, match=words):
        load(tiny_model, placement=Placement(devices=(device,)))


def test_options_are_refused(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="no option 'x'"):
        load(tiny_model, options={"x": "1"})


def test_progress_is_told(tiny_model: Path) -> None:
    told: list[float] = []
    loaded = load_engine(plan(tiny_model), told.append)
    loaded.close()
    loaded.close()
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_nothing_is_left_behind(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = load(tiny_model)
    assert list(tmp_path.iterdir()) == []
    held(engine, "json_object", max_tokens=5)
    assert list(tmp_path.iterdir()) == []
    assert ask(engine, "The river", max_tokens=3, ignore_eos=True).finish == "length"
    engine.close()


def test_the_devices_are_reported() -> None:
    report = kind_of("openvino").report()
    assert report.is_usable
    by_name = {back_end.name: back_end for back_end in report.back_ends}
    assert set(by_name) == {"CPU", "GPU", "NPU"}
    assert by_name["CPU"].is_usable
    assert by_name["CPU"].devices[0].description
    assert by_name["CPU"].devices[0].kind == "cpu"
    assert report.has_gpu == by_name["GPU"].is_usable
    for back_end in by_name.values():
        assert back_end.is_usable or (back_end.reason and back_end.remedy)


@pytest.mark.anyio
async def test_a_worker_answers(tiny_model: Path) -> None:
    handle = await WorkerHandle.start(plan(tiny_model), lambda _: None)
    try:
        assert handle.info.engine == "openvino"
        request, sampling = TextRequest(prompt="one two"), Sampling(max_tokens=5, ignore_eos=True)
        deltas = [delta async for group in handle.run(request, sampling) for delta in group]
        assert deltas[-1].usage is not None
        assert deltas[-1].usage.completion_tokens == 5
    finally:
        await handle.close()


@pytest.mark.anyio
async def test_a_worker_says_why_it_cannot(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(write_tiny_model(tmp_path / "whole.gguf").read_bytes()[:-5000])
    with pytest.raises(LoadFailed, match=r"broken\.gguf"):
        await WorkerHandle.start(plan(broken), lambda _: None)


def _batcher(loaded: Runner | Pipeline) -> Batcher:
    assert is_runner(loaded)
    return Batcher(loaded)


QUESTIONS = ("What is the capital of France?", "Name three planets.", "Who wrote Hamlet?", "What is a prime number?")


@pytest.mark.slow
@pytest.mark.real_model
def test_the_starter_model_answers_as_with_llama_cpp(starter_model: LocalModel) -> None:
    """Rounding turns greedy answers of a model of 4 bits now and then, so it is their beginnings that must agree."""
    begins: dict[str, list[str]] = {}
    for name in ("openvino", "llama_cpp"):
        loaded = load_engine(LoadPlan(engine=name, path=starter_model.path, threads=2, max_jobs=1), lambda _: None)
        engine: Engine = PipelinedEngine(loaded) if is_pipeline(loaded) else _batcher(loaded)
        begins[name] = [
            ask(engine, f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", max_tokens=4).text
            for question in QUESTIONS
        ]
        engine.close()
    same = sum(one == other for one, other in zip(begins["openvino"], begins["llama_cpp"], strict=True))
    assert same >= 3, begins
