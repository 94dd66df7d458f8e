"""From settings to what is loaded: adapters, the draft model, the folder for prompts, and who a model is."""

import os
from pathlib import Path

import pytest

from localllm.cli import compose
from localllm.cli.compose import bring, make_service
from localllm.cli.options import lora_of, parallel_of
from localllm.config import ClientKey, Settings, load_settings
from localllm.engines.plan import LoadPlan
from localllm.errors import ConfigError, ModelNotFound
from localllm.models.on_disk import from_manifest
from localllm.models.storage.store import Store
from tests.models.cards import stored_files
from tests.models.pte.programs import TOKENIZER, program
from tests.tiny import write_tiny_model


def plan_of(settings: Settings, model: str = "echo", *, keeps_prompts: bool = False) -> LoadPlan:
    service = make_service([bring(model, settings)], settings, keeps_prompts=keeps_prompts)
    return next(iter(service._models.values()))._plan


def test_what_settings_say_reaches_the_plan(tmp_path: Path) -> None:
    settings = Settings(
        home=str(tmp_path),
        parallel=3,
        context=99,
        max_queue=5,
        guessing="off",
        volatile_lines=("a:", "b:"),
        cache_bytes=7,
    )
    plan = plan_of(settings, keeps_prompts=True)
    assert (plan.max_jobs, plan.context_tokens) == (3, 99)
    assert (plan.scheduling.max_queue, plan.scheduling.guessing) == (5, "off")
    assert plan.scheduling.volatile_lines == ("a:", "b:")
    assert (plan.scheduling.cache_path, plan.scheduling.cache_bytes) == (str(tmp_path / "kv"), 7)
    assert plan.scheduling.draft_path is None


def test_prompts_are_shared_where_there_is_one_client_or_all_agreed() -> None:
    keys = {"ann": ClientKey("a"), "bob": ClientKey("b")}
    assert plan_of(Settings()).scheduling.shares_prompts
    assert not plan_of(Settings(keys=keys)).scheduling.shares_prompts
    assert plan_of(Settings(keys=keys, share_cache=True)).scheduling.shares_prompts


def test_prompts_are_kept_on_disk_only_where_that_is_wanted() -> None:
    assert plan_of(Settings()).scheduling.cache_path is None
    assert plan_of(Settings()).scheduling.cache_bytes == 0
    assert plan_of(Settings(cache_bytes=0), keeps_prompts=True).scheduling.cache_path is None


def test_adapters_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = {"one": str(tmp_path / "one.gguf"), "two": "~/one.gguf"}
    assert plan_of(Settings(lora=paths)).adapters == {"one": str(tmp_path / "one.gguf")} | {
        "two": str(tmp_path / "one.gguf")
    }


@pytest.mark.parametrize("path", ["/nowhere/x.gguf", "/", "", "x\0y", "~nobody-of-that-name/x"])
def test_an_adapter_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match="lora"):
        plan_of(Settings(lora={"pirate": path}))


def test_the_draft_model_is_found_as_models_are(tiny_model: Path) -> None:
    assert plan_of(Settings(draft=str(tiny_model)), str(tiny_model)).scheduling.draft_path == str(tiny_model)
    with pytest.raises(ModelNotFound):
        plan_of(Settings(draft="no-such-model"))
    with pytest.raises(ConfigError, match="draft"):
        plan_of(Settings(draft=str(tiny_model)), "echo")


def test_a_changed_file_is_another_model(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "a.gguf")
    first = bring(str(path), Settings()).identity
    assert len(first) == 64
    assert bring(os.path.relpath(path), Settings()).identity == first
    os.utime(path, ns=(1, 1))
    second = bring(str(path), Settings()).identity
    with path.open("ab") as file:
        file.write(b"x")
    os.utime(path, ns=(1, 1))
    assert len({first, second, bring(str(path), Settings()).identity}) == 3
    assert plan_of(Settings(), str(path)).identity == bring(str(path), Settings()).identity
    assert plan_of(Settings()).identity == ""


def test_what_belongs_to_a_program_reaches_the_plan(tmp_path: Path) -> None:
    """By name, since the store calls its files otherwise; and with the digest that its bytes must have."""
    store = Store(tmp_path / "home")
    files = {"model.pte": program(), "tokenizer.json": TOKENIZER, "README.md": b"# Card"}
    model = from_manifest(stored_files(store, "tiny:pte", files, format="pte"), store)
    service = make_service([model], Settings())
    plan = next(iter(service._models.values()))._plan
    assert (plan.engine, plan.path, plan.sha256) == ("executorch", model.path, model.sha256)
    assert sorted(plan.beside) == ["README.md", "tokenizer.json"]
    assert Path(plan.beside["tokenizer.json"]).read_bytes() == TOKENIZER


def test_a_program_guesses_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "require_extra", lambda *_, **__: None)
    (tmp_path / "x.pte").write_bytes(program())
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    with pytest.raises(ConfigError, match="draft: x is a program of ExecuTorch, which gains nothing by guessing"):
        plan_of(Settings(draft=str(tmp_path / "x.pte")))


@pytest.mark.parametrize(("text", "number"), [(None, None), ("auto", None), ("4", 4)])
def test_how_many_at_once(text: str | None, number: int | None) -> None:
    assert parallel_of(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "four", "", "1.5", "²"])
def test_a_number_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--parallel"):
        parallel_of(text)


def test_adapters_on_the_command_line() -> None:
    assert lora_of(None) is None
    assert lora_of([]) is None
    assert lora_of(["a=/x=y.gguf", "b=z"]) == {"a": "/x=y.gguf", "b": "z"}
    for wrong in (["a"], ["=x"], ["a="], ["a=x", "a=y"]):
        with pytest.raises(ConfigError, match="--lora"):
            lora_of(wrong)


@pytest.mark.real_model
def test_a_model_of_the_store_is_known_by_its_digest(starter_home: Path) -> None:
    settings = load_settings({"LOCALLLM_HOME": str(starter_home), "LOCALLLM_CONFIG": os.devnull})
    model = bring("smollm2:135m", settings)
    assert model.path.endswith(model.identity)
    assert len(model.identity) == 64
