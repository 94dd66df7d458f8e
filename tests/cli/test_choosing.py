"""`--engine auto`: real workers, engines of a package of their own, and what is remembered of them."""

import importlib
import importlib.util
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from localllm.bench import workloads
from localllm.bench.workloads import Sizes
from localllm.cli import candidates, compose
from localllm.cli.candidates import build_of, find_field
from localllm.cli.choosing import choose_engine
from localllm.config import Settings, load_settings
from localllm.devices.choice import LEAD, WORKLOADS, Choice
from localllm.devices.contention import CoreMeter
from localllm.engines import registry
from localllm.errors import InvalidRequest, NoRoom
from localllm.models.local import LocalModel
from localllm.runtime.local import LocalService
from localllm.runtime.measurements import FILE, Measured, MeasurementFile
from localllm.types import ModelDefaults, Sampling, Workload
from tests.cli.racing import racing, write_package
from tests.marks import slow
from tests.serving import local_model

__all__ = ["racing"]

SMALL = Sizes(repeats=1, chat_tokens=8, reading_tokens=40, prompt_tokens=8, answer_tokens=8)


class Room:
    """A home, a model, and which engines were loaded."""

    def __init__(self) -> None:
        self.model = local_model("echo")
        self.settings = load_settings()
        self.loaded: list[str] = []

    def make_service(self, model: LocalModel, settings: Settings) -> LocalService:
        self.loaded.append(model.engine)
        return compose.make_service([model], settings)

    def choose(self, *engines: str, workload: Workload = "chat", settings: Settings | None = None) -> Choice:
        others = set(psutil.Process().children(recursive=True))
        choice = choose_engine(
            self.model,
            settings or self.settings,
            workload,
            make_service=self.make_service,
            candidates=engines or None,
        )
        assert set(psutil.Process().children(recursive=True)) <= others
        return choice

    @property
    def entries(self) -> dict[str, Measured]:
        file = MeasurementFile(self.settings.home_path, print)
        return {entry.subject.engine: entry for entry in file.entries()}


@pytest.fixture
def room(racing: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(workloads, "fitted", lambda *_, **__: SMALL)
    return Room()


def expected(room: Room, workload: Workload, usual: str, other: str) -> str:
    """By the figures in the file; how fast this machine is just now is nothing to test."""
    rates = {engine: room.entries[engine].rates[workload] for engine in (usual, other)}
    return other if rates[other] >= LEAD * rates[usual] else usual


def test_each_is_measured_once_and_the_faster_one_taken(room: Room) -> None:
    room.model = replace(room.model, path="20")
    first = room.choose("echo", "quick")
    assert room.loaded == ["quick", "echo"]
    assert all(set(entry.rates) == set(WORKLOADS) for entry in room.entries.values())
    for workload in WORKLOADS:
        choice = room.choose("echo", "quick", workload=workload)
        assert choice.engine == expected(room, workload, "echo", "quick")
        assert " times as fast as " in choice.reason
    assert room.loaded == ["quick", "echo"]
    assert first == room.choose("echo", "quick")


@pytest.mark.slow
def test_the_usual_engine_is_kept_where_it_is_the_faster(room: Room) -> None:
    assert room.choose("slow", "echo").engine == expected(room, "chat", "echo", "slow")


@pytest.mark.parametrize(
    "other",
    [{"threads": 1}, slow({"prefer": "quiet"}), slow({"flash_attention": False})],
    ids=lambda other: next(iter(other)),
)
def test_other_settings_are_measured_anew(room: Room, other: dict[str, object]) -> None:
    room.choose("echo", "quick")
    settings = replace(room.settings, **other)
    room.choose("echo", "quick", settings=settings)
    room.choose("echo", "quick", settings=settings)
    assert room.loaded == ["quick", "echo"] * 2


@pytest.mark.slow
def test_another_build_is_measured_anew(room: Room, racing: Path) -> None:
    room.choose("echo", "quick")
    before = build_of("quick")
    write_package(racing, "1.1")
    importlib.invalidate_caches()
    registry.registered.cache_clear()
    assert (before, build_of("quick")) == (before, before.replace("1.0", "1.1", 1))
    room.choose("echo", "quick")
    assert room.loaded == ["quick", "echo", "quick"]


@pytest.mark.slow
def test_another_model_is_measured_anew(room: Room) -> None:
    room.choose("echo", "quick")
    room.model = replace(room.model, identity="of other bytes")
    room.choose("echo", "quick")
    assert room.loaded == ["quick", "echo"] * 2


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("refusing", "refusing is out: no such layer"),
        slow("aborting", "aborting is out: the model's process ended"),
        slow("borrowing", "borrowing is out: borrowing did not run the model; echo did in its place"),
    ],
)
def test_one_that_fails_is_out_and_not_tried_again(room: Room, engine: str, words: str) -> None:
    choice = room.choose("echo", engine)
    assert choice.engine == "echo"
    assert choice.reason == "echo is the only engine here that can take this model"
    assert words in choice.left_out[0]
    loads = len(room.loaded)
    assert set(room.loaded) == {engine}  # without a rival there is no need for figures of the other
    assert room.choose("echo", engine) == choice
    assert len(room.loaded) == loads


def test_one_whose_devices_are_not_usable_is_never_loaded(room: Room) -> None:
    choice = room.choose("echo", "unusable")
    assert (choice.engine, choice.left_out) == ("echo", ("unusable is out: it is broken",))
    assert room.choose("echo", "unusable") == choice
    assert room.loaded == []


@pytest.mark.slow
def test_no_room_today_is_not_remembered(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: LocalModel, settings: Settings) -> LocalService:
        if model.engine == "quick":
            raise NoRoom("too large for the memory that is free")
        return compose.make_service([model], settings)

    choice = choose_engine(room.model, room.settings, "chat", make_service=full, candidates=("echo", "quick"))
    assert choice.left_out == ("quick is out: too large for the memory that is free",)
    assert room.entries == {}
    room.choose("echo", "quick")
    assert room.loaded == ["quick", "echo"]


@pytest.mark.slow
def test_without_one_that_works_the_usual_one_is_taken(room: Room) -> None:
    choice = room.choose("refusing", "aborting")
    assert choice.engine == "echo"
    assert "the usual one" in choice.reason
    assert [sentence.split()[0] for sentence in choice.left_out] == ["refusing", "aborting"]


def test_without_a_rival_nothing_is_measured(room: Room) -> None:
    choice = room.choose("quick", "unusable")
    assert choice.engine == "quick"
    assert room.loaded == []


@pytest.mark.slow
def test_what_another_process_measured_meanwhile_is_taken(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.choose("echo", "quick")
    known = room.entries["quick"]
    (room.settings.home_path / FILE).unlink()

    class Other(MeasurementFile):
        def measuring(self, while_waiting):  # type: ignore[no-untyped-def]
            self.remember(known)
            return super().measuring(while_waiting)

    monkeypatch.setattr("localllm.cli.measuring.MeasurementFile", Other)
    room.choose("echo", "quick")
    assert room.loaded == ["quick", "echo", "echo"]


def test_an_engine_for_other_formats_does_not_compete(room: Room) -> None:
    choice = room.choose("echo", "foreign")
    assert choice == Choice(engine="echo", reason="echo is the only engine that runs models of this format")
    assert room.loaded == []


def test_an_engine_that_there_is_not_is_said(room: Room) -> None:
    with pytest.raises(InvalidRequest, match="there is no engine 'tpu'"):
        room.choose("echo", "tpu")


@pytest.mark.slow
def test_the_defaults_of_a_model_are_no_part_of_it(room: Room) -> None:
    """A card may name a sampling field that an engine has not."""
    room.model = replace(room.model, defaults=ModelDefaults(sampling=Sampling(mirostat=2)))
    seen: list[ModelDefaults] = []

    def make_service(model: LocalModel, settings: Settings) -> LocalService:
        seen.append(model.defaults)
        assert (settings.context, settings.parallel, settings.guessing) == (1024, 16, "off")
        return compose.make_service([model], settings)

    choose_engine(room.model, room.settings, "chat", make_service=make_service, candidates=("echo", "quick"))
    assert seen == [ModelDefaults()] * 2


@pytest.mark.parametrize(("taken", "is_busy"), [slow(0.1, False), (1.9, True)])
def test_a_busy_machine_is_a_warning_and_its_figures_are_not_believed_for_long(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], taken: float, is_busy: bool
) -> None:
    monkeypatch.setattr(CoreMeter, "others", lambda _: taken)
    room.choose("echo", "quick")
    assert [entry.is_doubtful for entry in room.entries.values()] == [is_busy] * 2
    assert capsys.readouterr().err.count("other programs take 1.9 of") == is_busy


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_found_before(room: Room) -> None:
    def make_service(model: LocalModel, settings: Settings) -> LocalService:
        if model.engine == "echo":
            raise KeyboardInterrupt
        return compose.make_service([model], settings)

    with pytest.raises(KeyboardInterrupt):
        choose_engine(room.model, room.settings, "chat", make_service=make_service, candidates=("echo", "quick"))
    assert set(room.entries) == {"quick"}
    room.choose("echo", "quick")  # nobody holds the lock
    assert room.loaded == ["echo"]


def gguf(tiny_model: Path) -> LocalModel:
    return local_model(str(tiny_model))


def test_an_engine_that_is_not_installed_is_named_with_what_would_change_that(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "gguf" not in formats_of("openvino"):
        pytest.skip("the engine openvino is not here")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "localllm.cli.candidates.find_spec", lambda name: None if name == "openvino_genai" else found(name)
    )
    room = Room()
    room.model = gguf(tiny_model)
    choice = room.choose()
    assert choice.engine == "llama_cpp"
    assert choice.reason == "llama_cpp is the only engine here that can take this model"
    assert 'openvino runs it too, and is not installed: pip install "localllm[openvino]"' in choice.left_out
    assert room.loaded == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(lora={"a": "a.gguf"}), "takes no LoRA adapters"),
        (Settings(draft="smollm2:135m"), "takes no draft model"),
    ],
)
def test_what_only_the_usual_engine_can_do_leaves_no_other(tiny_model: Path, settings: Settings, words: str) -> None:
    if "gguf" not in formats_of("openvino") or not candidates.is_installed("openvino"):
        pytest.skip("the engine openvino is not here")
    field = find_field(gguf(tiny_model), settings)
    assert field.engines == ("llama_cpp",)
    assert any(words in sentence for sentence in field.left_out)


def test_a_bundled_build_is_told_by_its_files() -> None:
    found = build_of("llama_cpp")
    assert found.startswith("llama")
    assert found.count("(") == 1
    assert found == build_of("llama_cpp")


def formats_of(name: str) -> frozenset[str]:
    try:
        return registry.kind_of(name).formats
    except Exception:
        return frozenset()


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.timeout(600)
def test_the_starter_model_goes_to_the_engine_with_the_higher_figure(starter_model: LocalModel) -> None:
    if "gguf" not in formats_of("openvino") or not candidates.is_installed("openvino"):
        pytest.skip('needs the extra: pip install "localllm[openvino]"')
    room = Room()
    room.model = starter_model
    choices = {workload: room.choose("llama_cpp", "openvino", workload=workload) for workload in WORKLOADS}
    assert {choice.left_out for choice in choices.values()} == {()}
    assert room.loaded == ["openvino", "llama_cpp"]
    assert all(set(entry.rates) == set(WORKLOADS) for entry in room.entries.values())
    for workload, choice in choices.items():
        assert choice.engine == expected(room, workload, "llama_cpp", "openvino")
        print(f"{workload}: {choice.reason}")
