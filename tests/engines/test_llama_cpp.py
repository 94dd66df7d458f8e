"""llama.cpp under the batcher, on a tiny random model."""

from collections.abc import Generator
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from localllm.engines.base import Batch, Engine, Runner
from localllm.engines.llama_cpp import native
from localllm.engines.llama_cpp import runner as module
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.errors import ConfigError, EngineUnavailable, LoadFailed, LocalLLMError, NoRoom
from localllm.inference.batcher import Batcher
from tests import tiny
from tests.engines.contract import EngineContract
from tests.engines.runner_contract import PROMPT, RunnerContract, read


def plan(path: Path, **fields: object) -> LoadPlan:
    return LoadPlan(**{"engine": "llama_cpp", "path": str(path), "threads": 1, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shared_engine(tiny_model: Path) -> Generator[Engine, None, None]:
    engine = Batcher(
        load_runner(plan(tiny_model, max_jobs=4, context_tokens=512, flash_attention=False), lambda _: None)
    )
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine: Engine) -> Engine:
    """Used by all tests in turn, as a server uses it: each must leave it idle."""
    assert not shared_engine.is_busy
    return shared_engine


class TestLlamaCpp(EngineContract):
    """The contract."""


@pytest.fixture(params=[False, True], ids=["plain", "flash"])
def runner(tiny_model: Path, request: pytest.FixtureRequest) -> Generator[Runner, None, None]:
    loaded = load_runner(
        plan(tiny_model, max_jobs=3, context_tokens=512, flash_attention=request.param), lambda _: None
    )
    yield loaded
    loaded.close()


class TestLlamaRunner(RunnerContract):
    """The contract of runners."""


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with heads of 32 values, as q8_0 wants them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "HEADS", 2)
        patch.setattr(tiny, "KV_HEADS", 1)
        return tiny.write_tiny_model(tmp_path_factory.mktemp("wide") / "wide.gguf")


class TestSmallKv(RunnerContract):
    """The contract with KV in 8 bits."""

    @pytest.fixture
    def runner(self, wide_model: Path) -> Generator[Runner, None, None]:
        loaded = load_runner(plan(wide_model, max_jobs=3, context_tokens=512, kv_type="q8_0"), lambda _: None)
        yield loaded
        loaded.close()

    def test_its_logits_are_nearly_those_of_16_bits(self, runner: Runner, wide_model: Path) -> None:
        exact = load_runner(plan(wide_model, max_jobs=3, context_tokens=512, flash_attention=True), lambda _: None)
        left, right = (read(one, 0, 0, PROMPT, logits=8) for one in (runner, exact))
        exact.close()
        assert not np.array_equal(left, right)
        assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.995  # the weights are random and large


@pytest.mark.parametrize(
    ("model", "fields", "error", "words"),
    [
        (
            "wide_model",
            {"flash_attention": False},
            ConfigError,
            "needs flash attention: leave out --no-flash-attention",
        ),
        ("tiny_model", {}, LoadFailed, "does not divide n_embd_head_k=16"),
    ],
)
def test_small_kv_that_cannot_be_is_refused(
    request: pytest.FixtureRequest, model: str, fields: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        load_runner(plan(request.getfixturevalue(model), kv_type="q8_0", **fields), lambda _: None)


def test_closing_twice_is_fine(tiny_model: Path) -> None:
    loaded = load_runner(plan(tiny_model), lambda _: None)
    loaded.close()
    loaded.close()


def test_progress_is_told(tiny_model: Path) -> None:
    told: list[float] = []
    load_runner(plan(tiny_model), told.append).close()
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "missing"])
def test_a_damaged_file_is_refused_with_a_reason(tiny_model: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.gguf"
    data = {"empty": b"", "truncated": tiny_model.read_bytes()[:200_000], "text": b"hello" * 100}.get(damage)
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(LoadFailed, match=r"bad\.gguf"):
        load_runner(plan(path), lambda _: None)


def test_more_context_than_the_model_knows_is_refused(tiny_model: Path) -> None:
    with pytest.raises(LoadFailed, match="trained for a context of 1024"):
        load_runner(plan(tiny_model, context_tokens=2048), lambda _: None)


def test_what_does_not_fit_is_told_from_what_is_wrong(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory_bytes", lambda: tiny_model.stat().st_size + 1000)
    with pytest.raises(NoRoom, match="lower --context or --parallel"):
        load_runner(plan(tiny_model, context_tokens=1024), lambda _: None)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory\n", NoRoom),
        (b"llama_model_load: error loading model: unable to allocate CUDA0 buffer\n", NoRoom),
        (b"ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory\n", NoRoom),
        (b"llama_init_from_model: failed to initialize the context: failed to allocate compute pp buffers\n", NoRoom),
        (b"llama_model_load: error loading model: unknown model architecture: 'x'\n", LoadFailed),
    ],
)
def test_the_words_of_the_library_say_whether_there_was_no_room(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, error: type[LocalLLMError]
) -> None:
    def refuse(*_arguments: object) -> None:
        native._collect_log(4, line, None)

    monkeypatch.setattr(llama_cpp, "llama_model_load_from_splits", refuse)
    with pytest.raises(error, match=r"llama\.cpp cannot load") as raised:
        load_runner(plan(tiny_model), lambda _: None)
    assert type(raised.value) is error
    assert line.decode().strip() in raised.value.message


def test_more_slots_than_llama_cpp_has_are_refused(tiny_model: Path) -> None:
    with pytest.raises(LoadFailed, match="256"):
        load_runner(plan(tiny_model, context_tokens=256, max_jobs=257), lambda _: None)


def test_an_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(EngineUnavailable, match="there are llama_cpp, echo, executorch"):
        load_runner(LoadPlan(engine="nope", path=""), lambda _: None)


def test_prompts_read_together_are_rounded_as_each_alone(tiny_model: Path) -> None:
    """Whatever their lengths: the library would leave a row alone, and round it otherwise."""
    runner = load_runner(plan(tiny_model, max_jobs=4, context_tokens=256, flash_attention=False), lambda _: None)
    alone = []
    together = Batch(256)
    for slot, length in enumerate((40, 41, 43, 42)):
        prompt = list(range(10, 10 + length))
        batch = Batch(64)
        batch.add(slot, 0, prompt, logits=1)
        alone.append(runner.decode(batch)[0].copy())
        runner.trim(slot, 0)
        together.add(slot, 0, prompt, logits=1)
    assert np.array_equal(runner.decode(together), np.stack(alone))
    runner.close()
