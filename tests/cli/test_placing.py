"""Which engine and device a model gets from the settings, and what is refused before anything is loaded."""

from pathlib import Path

import pytest

from localllm.cli.compose import bring, make_service
from localllm.cli.options import engine_options_of
from localllm.config import Settings
from localllm.engines.registry import registered
from localllm.errors import ConfigError
from localllm.runtime.served import ServedModel
from tests.cli.shell import Shell
from tests.tiny import write_tiny_model

PLUGIN = Path(__file__).parent.parent / "plugin"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_tiny_model(tmp_path / "tiny.gguf"))


def served(model: str, **settings: object) -> ServedModel:
    chosen = Settings(**settings)  # type: ignore[arg-type]
    service = make_service([bring(model, chosen)], chosen)
    return next(iter(service._models.values()))


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--engine", "tpu"), 2, "there is no engine 'tpu'; there are llama_cpp"),
        (("--engine", "executorch"), 2, "does not run"),
        (("--engine", "mlc"), 2, "does not run"),
        (("--device", "npu"), 5, "llama.cpp has no NPU back end here"),
        (("--device", "CUDA7"), 2, "has no 'CUDA7' here; there is"),
        (("--kv-type", "q8_0"), 2, "needs heads of whole 32 values"),
        (("--kv-type", "q8_0", "--no-flash-attention"), 2, "needs flash attention"),
        (("--kv-type", "q2"), 2, "q2"),
        (("--prefer", "noise"), 2, "noise"),
        (("--for", "fun"), 2, "fun"),
        (("--engine-option", "colour"), 2, "--engine-option takes NAME=VALUE, not 'colour'"),
        (("--engine-option", "colour=red"), 2, "llama_cpp has no option 'colour'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    shell: Shell, model: str, options: tuple[str, ...], code: int, words: str
) -> None:
    told = shell("run", "--model", model, "--max-tokens", "1", *options, "hi")
    assert (told.code, told.out) == (code, "")
    assert words in told.err


def test_a_gpu_that_was_asked_for_is_not_silently_a_cpu(shell: Shell, model: str) -> None:
    told = shell("run", "--model", model, "--device", "gpu", "hi")
    if told.code == 0:
        pytest.skip("there is a GPU here")
    assert told.code == 5
    assert "device gpu: llama.cpp here is built without a GPU back end; install" in told.err


def test_what_is_chosen_reaches_the_plan_and_is_said(model: str) -> None:
    one = served(model, prefer="quiet", kv_type="f16", device="cpu", context=512)
    assert (one._plan.prefer, one._plan.kv_type, one._plan.placement.gpu_layers) == ("quiet", "f16", 0)
    assert one._plan.context_tokens == 512
    assert any("quiet" in reason for reason in one.info.reasons)


def test_another_engine_runs_it_where_it_can(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))  # its devices are looked at in a process of its own
    registered.cache_clear()
    try:
        one = served(model, engine="backwards")
        assert (one._plan.engine, one.info.reasons[0]) == ("backwards", "backwards runs it, as asked")
    finally:
        registered.cache_clear()


def test_options_of_an_engine() -> None:
    assert engine_options_of(None) is None
    assert engine_options_of(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    for wrong in (["a"], ["=1"], ["a="], ["a=1", "a=2"]):
        with pytest.raises(ConfigError, match="--engine-option"):
            engine_options_of(wrong)
