"""Engines by name: the bundled ones, and one that another package brings."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from localllm.engines import registry
from localllm.engines.plan import LoadPlan
from localllm.errors import ConfigError, EngineUnavailable, InvalidRequest
from localllm.types import Finished, TextDelta, TextRequest
from localllm.worker.handle import WorkerHandle

PLUGIN = Path(__file__).parent.parent / "plugin"
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "plugins.md"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    registry.registered.cache_clear()
    yield
    registry.registered.cache_clear()


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample package is installed, as far as anyone can tell."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))


def plant(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """An entry point of a package that is not there."""
    point = EntryPoint(name=name, value=value, group=registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])


@pytest.mark.parametrize("name", ["llama_cpp", "executorch", "openvino", "mlc", "echo"])
def test_every_bundled_engine_is_there_without_anything_native(name: str) -> None:
    kind = registry.kind_of(name)
    assert (kind.name, bool(kind.formats)) == (name, True)


def test_the_usual_engine_comes_first() -> None:
    assert registry.engine_names()[0] == "llama_cpp"
    assert set(registry.engine_names()) - set(registry.real_engines()) == {"echo"}


def test_an_engine_that_there_is_not() -> None:
    with pytest.raises(InvalidRequest, match="there is no engine 'tpu'; there are llama_cpp") as caught:
        registry.check_engine("tpu")
    assert caught.value.param == "engine"
    with pytest.raises(EngineUnavailable, match="no engine named 'tpu'"):
        registry.kind_of("tpu")


@pytest.mark.parametrize("name", ["llama_cpp", "executorch", "echo"])
def test_an_option_that_an_engine_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="has no option 'colour'"):
        registry.load_engine(LoadPlan(engine=name, path="", options={"colour": "red"}), lambda _: None)


def test_another_package_brings_one(plugin: None) -> None:
    assert "backwards" in registry.engine_names()
    assert registry.kind_of("backwards").report().is_usable


def test_nobody_takes_the_place_of_a_bundled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    usurper = EntryPoint(name="llama_cpp", value="localllm_backwards:Backwards", group=registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [usurper])
    assert registry.registered()["llama_cpp"].value == registry.BUNDLED["llama_cpp"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no_such_module:Engine", "ModuleNotFoundError"),
        ("localllm.engines.echo:NoSuchClass", "AttributeError"),
        ("localllm.engines.echo:EchoRunner", "TypeError"),  # wants an argument
        ("localllm.engines.echo:EchoTokenizer", "AttributeError"),  # is no engine
        ("localllm.engines.registry:_line", "TypeError"),
    ],
)
def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch, value: str, words: str) -> None:
    plant(monkeypatch, "broken", value)
    with pytest.raises(EngineUnavailable, match=words) as caught:
        registry.kind_of("broken")
    assert value in caught.value.message


def test_an_engine_that_keeps_its_logits_gives_no_runner(plugin: None) -> None:
    with pytest.raises(EngineUnavailable, match="gives no logits"):
        registry.load_runner(LoadPlan(engine="backwards", path=""), lambda _: None)


@pytest.mark.anyio
async def test_it_answers_through_a_worker(plugin: None) -> None:
    from localllm.runtime.choices import choice_events
    from localllm.types import NEUTRAL

    handle = await WorkerHandle.start(LoadPlan(engine="backwards", path=""), lambda _: None)
    try:
        events = [event async for event in choice_events(handle.run(TextRequest(prompt="abc"), NEUTRAL), 0)]
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "cba"
        assert isinstance(events[-1], Finished)
        assert handle.info.engine == "backwards"
    finally:
        await handle.close()


def test_the_sample_is_short_and_the_one_in_the_document() -> None:
    sample = (PLUGIN / "localllm_backwards.py").read_text("utf-8")
    assert len(sample.splitlines()) < 60
    assert f"```python\n{sample}```" in DOCUMENT.read_text("utf-8")


def test_asking_what_engines_run_imports_nothing_large() -> None:
    code = """
import sys
from localllm.engines.registry import kind_of, real_engines
print([kind_of(name).formats for name in real_engines()])
large = {"numpy", "torch", "llama_cpp", "executorch", "openvino", "openvino_genai", "mlc_llm", "tokenizers"}
sys.exit(", ".join(large & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
