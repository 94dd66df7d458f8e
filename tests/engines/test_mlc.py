"""MLC's pipeline on a fake of its package: what is loaded, asked, refused and cleared away. No real MLC runs here."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from localllm.engines.base import Engine
from localllm.engines.job import Job
from localllm.engines.kind import is_pipeline
from localllm.engines.mlc.kind import Mlc
from localllm.engines.pipeline import Emission, Pipeline
from localllm.engines.plan import LoadPlan, Placement
from localllm.engines.registry import kind_of
from localllm.errors import ConfigError, EngineError, EngineUnavailable, InvalidRequest, LoadFailed, UnsupportedField
from localllm.inference.pipelined import PipelinedEngine
from localllm.types import Client, Constraint, Sampling
from tests.engines.contract import Answer, ask, drain, tokens
from tests.engines.mlc_fake.install import fake_mlc  # noqa: F401  # a fixture
from tests.engines.mlc_fake.model import CONFIG, SHARD, WINDOW, write_json, write_model

pytest.importorskip("tokenizers")

MOCK = {"model_lib": "mock://fake"}
GREEDY = Sampling(temperature=0.0, max_tokens=400)


@pytest.fixture
def folder(fake_mlc: pytest.MonkeyPatch, tmp_path: Path) -> Path:  # noqa: F811
    return write_model(tmp_path / "model")


@pytest.fixture
def engine(folder: Path) -> Iterator[PipelinedEngine]:
    engine = PipelinedEngine(load(folder))
    yield engine
    engine.close()


def load(folder: Path, *devices: str, **options: str) -> Pipeline:
    placement = Placement(devices=devices)
    plan = LoadPlan(engine="mlc", path=str(folder), placement=placement, options={**MOCK, **options})
    return Mlc().load(plan, lambda _: None)


def closed(pipeline: Pipeline) -> Pipeline:
    pipeline.close()
    return pipeline


def fault_of(engine: PipelinedEngine, **fields: object) -> InvalidRequest:
    """What the pipeline refuses a job with when its turn comes."""
    sampling = Sampling(**{"temperature": 1.0, **fields})  # type: ignore[arg-type]
    engine.start(Job(id=1, tokens=tokens(engine, "hello"), sampling=sampling))
    engine.step()
    ((_, error),) = engine.take_faults()
    assert isinstance(error, InvalidRequest)
    return error


def test_the_registry_knows_it_and_imports_nothing_native() -> None:
    code = (
        "import sys; from localllm.engines.registry import kind_of; print(kind_of('mlc').formats, 'tvm' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "frozenset({'mlc'}) False\n"


def test_it_says_what_it_is(engine: PipelinedEngine) -> None:
    info = engine.info
    assert (info.engine, info.build, info.device) == ("mlc", "mlc_llm 0.1.fake", "cpu:0")
    assert (info.context_tokens, info.max_jobs, info.has_chat_template) == (WINDOW, 4, True)
    assert info.constraints == {"json_object", "json_schema"}
    assert "top_k" not in info.sampling


def test_the_asynchronous_engine_is_used_for_the_sake_of_what_is_left_early(engine: PipelinedEngine) -> None:
    from mlc_llm.serve.engine import MADE

    for job_id in range(3):
        engine.start(Job(id=job_id, tokens=tokens(engine, f"left early {job_id}"), sampling=GREEDY))
        engine.step()
        engine.cancel(job_id)
        assert ask(engine, "the next one", job_id=job_id).finish == "length"
    assert MADE == ["AsyncMLCEngine"]


def test_what_is_cancelled_is_aborted_and_what_has_ended_is_not(engine: PipelinedEngine) -> None:
    from mlc_llm.serve.decoding import ABORTED

    assert ask(engine, "one that ends", job_id=1, max_tokens=3).finish == "length"
    engine.start(Job(id=2, tokens=tokens(engine, "left early"), sampling=GREEDY))
    engine.step()
    engine.cancel(2)
    engine.cancel(2)
    assert ABORTED == ["localllm-2"]


def test_the_fake_has_the_trap_of_the_synchronous_engine(folder: Path) -> None:
    from mlc_llm.serve import MLCEngine

    write_json(folder / CONFIG, {"context_window_size": 512, "conv_template": {"stop_token_ids": [2]}})
    engine = MLCEngine(str(folder), "cpu", model_lib="mock://fake")
    try:
        stream = engine.stream("one", [70, 71], max_tokens=50)
        next(stream)
        stream.close()
        with pytest.raises(ValueError, match="finish_reason 'abort'"):
            list(engine.stream("two", [72, 73], max_tokens=3))
    finally:
        engine.terminate()


def test_tokens_are_counted_as_the_usage_says(folder: Path) -> None:
    pipeline = load(folder)
    engine = PipelinedEngine(pipeline)
    pipeline.start(Job(id=1, tokens=tokens(engine, "tell me all"), sampling=GREEDY), 400)
    emissions: list[Emission] = []
    while not (emissions and emissions[-1].finish):
        come = pipeline.step()
        assert len(come) <= 1
        emissions += come
    text = "".join(emission.text for emission in emissions)
    assert (emissions[-1].finish, "é" in text, "日" in text) == ("stop", True, True)
    counted = sum(emission.text_tokens for emission in emissions)
    assert counted == len(text.encode())  # a token is a byte, and the one that ended it does not count
    engine.close()


def test_an_end_is_where_the_tokenizer_says_and_nowhere_else(engine: PipelinedEngine) -> None:
    """The folder's own chat template would end an answer at a string, `river`, and a token, which a text may have."""
    assert "river" in ask(engine, "go on", max_tokens=300).text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.5), ("top_p", 1.5), ("frequency_penalty", 2.5), ("presence_penalty", -3.0),
        ("logit_bias", {5: 101.0}), ("max_tokens", 0), ("temperature", float("nan")),
    ],
)  # fmt: skip
def test_what_its_engine_would_stumble_over_is_refused(engine: PipelinedEngine, field: str, value: object) -> None:
    assert fault_of(engine, **{field: value}).param == field
    assert ask(engine, "still there", job_id=2).finish == "length"


def test_what_mlc_itself_refuses_is_a_fault_of_the_job(
    engine: PipelinedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlc_llm.protocol import BadRequestError, Request

    def refuse(_request: object, _most: int) -> None:
        raise BadRequestError("no such thing")

    monkeypatch.setattr(Request, "check", refuse)
    assert fault_of(engine).message == "MLC refuses this: BadRequestError: no such thing"


@pytest.mark.parametrize("field", ["top_k", "min_p", "repeat_penalty", "logprobs", "mirostat"])
def test_what_it_does_not_know_is_refused_by_name(engine: PipelinedEngine, field: str) -> None:
    value: object = 2 if field in ("top_k", "logprobs", "mirostat") else 0.5
    sampling = Sampling(**{"temperature": 1.0, field: value})  # type: ignore[arg-type]
    with pytest.raises(UnsupportedField, match=f"mlc does not honour {field}"):
        engine.start(Job(id=1, tokens=(70,), sampling=sampling))


def test_an_answer_that_ends_otherwise_ends_the_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc_llm.serve.decoding import Output, Row

    monkeypatch.setattr(Row, "advance", lambda row: [Output(row.request.id, [], "error"), row.usage()])
    engine.start(Job(id=1, tokens=tokens(engine, "hello"), sampling=GREEDY))
    with pytest.raises(EngineError, match=r"MLC failed: ValidationError: .*finish_reason 'error'"):
        drain(engine, {})


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (Constraint("json_object"), '{"answer": 1}'),
        (Constraint("json_schema", '{"type": "object", "additionalProperties": true}'), '{"answer": 1}'),
    ],
)
def test_answers_are_held_to_json(engine: PipelinedEngine, wanted: Constraint, text: str) -> None:
    engine.start(Job(id=1, tokens=tokens(engine, "hello"), sampling=GREEDY, wanted=wanted))
    answers: dict[int, Answer] = {}
    drain(engine, answers)
    assert (answers[1].text, answers[1].finish) == (text, "stop")


@pytest.mark.parametrize("kind", ["regex", "lark"])
def test_answers_are_held_to_nothing_else(engine: PipelinedEngine, kind: str) -> None:
    with pytest.raises(UnsupportedField, match=f"holds no answer to a {kind}"):
        engine.start(Job(id=1, tokens=(70,), sampling=GREEDY, wanted=Constraint(kind, "a+")))  # type: ignore[arg-type]


def test_a_cache_for_one_client_is_kept_to_one(folder: Path) -> None:
    engine = PipelinedEngine(load(folder, prefix_cache="radix"))
    try:
        prompt = tokens(engine, "a prompt that is long enough to be worth keeping")
        for job_id, scope in ((1, "mine"), (2, "mine"), (3, "yours")):
            engine.start(Job(id=job_id, tokens=prompt, sampling=GREEDY, client=Client(scope)))
        answers: dict[int, Answer] = {}
        drain(engine, answers)
        cached = [answers[job_id].usage for job_id in (1, 2)]
        assert max(usage.cached_tokens for usage in cached if usage is not None) == len(prompt) - 1
        ((job_id, error),) = engine.take_faults()
        assert (job_id, "one client alone" in error.message) == (3, True)
    finally:
        engine.close()


def test_the_context_is_bounded_by_the_model(folder: Path) -> None:
    for wanted, given in ((300, 300), (4096, WINDOW)):
        plan = LoadPlan(engine="mlc", path=str(folder), context_tokens=wanted, max_jobs=2, options=MOCK)
        info = closed(Mlc().load(plan, lambda _: None)).info
        assert (info.context_tokens, info.max_jobs) == (given, 2)


@pytest.mark.parametrize(
    ("there", "wanted", "taken"),
    [("cpu", (), "cpu:0"), ("cuda,cuda,cpu", (), "cuda:0"), ("cuda,cuda,cpu", ("cuda:1",), "cuda:1"),
     ("vulkan,cpu", ("CPU",), "cpu:0")],
)  # fmt: skip
def test_devices(
    folder: Path, monkeypatch: pytest.MonkeyPatch, there: str, wanted: tuple[str, ...], taken: str
) -> None:
    monkeypatch.setenv("FAKE_TVM_DEVICES", there)
    assert closed(load(folder, *wanted)).info.device == taken


@pytest.mark.parametrize(
    ("device", "error", "words"),
    [
        ("npu", EngineUnavailable, "MLC has no back end for NPUs"),
        ("cuda", EngineUnavailable, "MLC finds no cuda here; it finds vulkan, cpu"),
        ("vulkan:1", EngineUnavailable, "MLC finds no vulkan:1 here; it finds vulkan, cpu"),
        ("tpu", ConfigError, "MLC knows no 'tpu'; it knows cuda, rocm"),
        ("cuda:x", ConfigError, "MLC knows no 'cuda:x'"),
    ],
)
def test_devices_that_there_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch, device: str, error: type[Exception], words: str
) -> None:
    monkeypatch.setenv("FAKE_TVM_DEVICES", "vulkan,cpu")
    with pytest.raises(error, match=words):
        load(folder, device)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"model_library": "x"}}, "mlc has no option 'model_library'; it knows mode, model_lib"),
        ({"options": {"mode": "fast"}}, "mode: 'fast' is none of local, interactive, server"),
        ({"options": {"model_lib": "/no/such.so"}}, "there is no file /no/such.so"),
        ({"options": {"model_lib": "a\0b"}}, "model_lib"),
        ({"kv_type": "q8_0"}, "leave q8_0 out"),
        ({"placement": Placement(devices=("cuda:0", "cuda:1"))}, "MLC computes on one device"),
    ],
)  # fmt: skip
def test_options_that_are_none(folder: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Mlc().load(LoadPlan(engine="mlc", path=str(folder), **changes), lambda _: None)  # type: ignore[arg-type]


def test_stages_are_told(folder: Path) -> None:
    told: list[float] = []
    closed(Mlc().load(LoadPlan(engine="mlc", path=str(folder), options=MOCK), told.append))
    assert told == [0.05, 0.6, 1.0]


def test_a_library_is_compiled_once(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "mlc-home" / "model_lib"
    for _ in range(2):
        closed(load(folder, model_lib=""))
        assert len(list(cache.iterdir())) == 1
        first = next(cache.iterdir()).stat().st_mtime_ns
    assert next(cache.iterdir()).stat().st_mtime_ns == first


def test_the_words_of_a_compiler_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MLC_FAIL", "compile")
    with pytest.raises(LoadFailed) as caught:
        load(folder, model_lib="")
    assert "MLC cannot compile this model: RuntimeError: Cannot find compilation output" in caught.value.message
    assert "ValueError: Unknown model type: this one" in caught.value.message
    assert "\n" not in caught.value.message


def test_compiling_may_be_forbidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_JIT_POLICY", "OFF")
    with pytest.raises(LoadFailed, match="JIT is disabled by MLC_JIT_POLICY=OFF"):
        load(folder, model_lib="")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_compiler_does_not_outlive_who_waits_for_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MLC_SLOW", "compile")
    monkeypatch.setenv("FAKE_MLC_PID", str(tmp_path / "pid"))
    code = (
        f"from localllm.engines.mlc.library import *\nfind_library(LibraryOrder(folder={str(folder)!r}, device='cpu'))"
    )
    waiting = subprocess.Popen([sys.executable, "-c", code])
    compiler = psutil.Process(awaited(lambda: int((tmp_path / "pid").read_text("utf-8"))))
    waiting.send_signal(signal.SIGKILL)
    waiting.wait()
    assert compiler.wait(60) is None or not compiler.is_running()


def awaited(look: Callable[[], int]) -> int:
    """What is found, as soon as it is there."""
    for _ in range(600):
        try:
            return look()
        except (OSError, ValueError):
            time.sleep(0.1)
    raise TimeoutError


def test_what_its_engine_says_of_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MLC_FAIL", "load")
    with pytest.raises(LoadFailed, match="MLC cannot load model: RuntimeError: InternalError: Insufficient GPU memory"):
        load(folder)


def test_a_package_that_cannot_be_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MLC_BROKEN", "1")
    with pytest.raises(
        EngineUnavailable, match=r"MLC LLM cannot be imported: OSError: libcudart.so.12: .*; get the wheels"
    ):
        load(folder)
    report = kind_of("mlc").report()
    assert (report.is_usable, "libcudart.so.12" in report.reason) == (False, True)


def test_no_package(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="MLC LLM is not installed; get the wheels of the MLC project"):
        load(write_model(tmp_path / "model"))
    report = kind_of("mlc").report()
    assert (report.is_usable, report.reason) == (False, "MLC LLM is not installed")
    assert "https://llm.mlc.ai" in report.remedy


def test_the_report_has_every_kind_of_device(fake_mlc: pytest.MonkeyPatch) -> None:  # noqa: F811
    fake_mlc.setenv("FAKE_TVM_DEVICES", "cuda,cuda,cpu")
    report = kind_of("mlc").report()
    rows = {row.name: row for row in report.back_ends}
    assert (report.is_usable, report.has_gpu, report.build) == (True, True, "mlc_llm 0.1.fake")
    assert list(rows) == ["cuda", "rocm", "metal", "vulkan", "opencl", "cpu", "npu"]
    assert [device.name for device in rows["cuda"].devices] == ["cuda:0", "cuda:1"]
    assert [device.name for device in rows["cpu"].devices] == ["cpu:0"]
    assert (rows["npu"].is_usable, rows["npu"].reason) == (False, "MLC has no back end for NPUs")
    assert all(bool(row.remedy) != row.is_usable for row in report.back_ends)


def test_a_model_of_the_store_is_put_together(folder: Path, tmp_path: Path) -> None:
    """Its files lie anywhere, under names that say nothing."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    places = {path.name: blobs / f"sha256-{at}" for at, path in enumerate(sorted(folder.iterdir()))}
    for name, place in places.items():
        (folder / name).rename(place)
    beside = {name: str(place) for name, place in places.items() if name != CONFIG}
    plan = LoadPlan(engine="mlc", path=str(places[CONFIG]), beside=beside, options=MOCK)
    pipeline = Mlc().load(plan, lambda _: None)
    assert is_pipeline(pipeline)
    closed(pipeline)


def test_nothing_is_left_in_the_folder_for_temporary_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    closed(load(folder))
    with pytest.raises(EngineUnavailable):
        load(folder, "npu")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_without_a_chat_template_there_is_none(fake_mlc: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: F811
    engine = PipelinedEngine(load(write_model(tmp_path / "plain", template=None)))
    engine.close()
    assert not engine.info.has_chat_template


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (CONFIG, None, f"there is no {CONFIG}"),
        (CONFIG, b"{", f"{CONFIG} is not as it should be"),
        (CONFIG, b"\xff", f"{CONFIG} is not UTF-8"),
        (CONFIG, b'{"model_type": "llama"}', f"{CONFIG} is not as it should be: .*quantization"),
        ("tensor-cache.json", None, "there is no tensor-cache.json"),
        ("tensor-cache.json", b"[]", "tensor-cache.json is not as it should be"),
        ("tensor-cache.json", b'{"records": []}', "tensor-cache.json lists no weights"),
        (SHARD, None, f"{SHARD} is missing, which tensor-cache.json lists"),
        (SHARD, b"short", f"{SHARD} has 5 bytes, and tensor-cache.json says 256"),
        ("tokenizer.json", None, "there is no tokenizer.json"),
    ],
)
def test_folders_that_are_not_whole(folder: Path, name: str, content: bytes | None, words: str) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(LoadFailed, match=words):
        load(folder)


def test_older_folders_list_their_weights_under_another_name(folder: Path) -> None:
    (folder / "tensor-cache.json").rename(folder / "ndarray-cache.json")
    assert closed(load(folder)).info.engine == "mlc"


def test_a_config_may_be_named_in_place_of_its_folder(folder: Path) -> None:
    assert closed(load(folder / CONFIG)).info.engine == "mlc"
    with pytest.raises(LoadFailed, match="is no model of MLC"):
        load(folder / SHARD)


def test_a_model_that_embeds(fake_mlc: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(LoadFailed, match="for embedding"):
        load(write_model(tmp_path / "embedder", model_task="embedding"))
