"""The models of this machine behind one front: found, brought, copied, renewed, mended, under the user's settings."""

import importlib.util
from pathlib import Path

import pytest

from localllm.config import Settings, load_settings
from localllm.errors import ConfigError, DownloadFailed, InvalidRequest, LoadFailed, ModelNotFound
from localllm.models.candidate import candidate_of
from localllm.models.local import LocalModel
from localllm.models.manifest import Manifest
from localllm.models.progress import OnProgress
from localllm.models.reference import HubReference
from localllm.models.verify import verify
from localllm.runtime.library import Library
from tests.models.cards import stored_model
from tests.models.hub import Hub
from tests.models.repositories import NAME, checkpoint, contents, split_model

pytestmark = pytest.mark.usefixtures("here")

SILENT: OnProgress = lambda _: None  # noqa: E731
REFERENCE = f"{NAME}:F32"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"LOCALLLM_HOME": str(tmp_path / "home"), "LOCALLLM_CONFIG": str(tmp_path / "none.toml")})


@pytest.fixture
def library(settings: Settings, hub: Hub) -> Library:
    hub.commit(NAME, split_model())
    return Library(settings)


def with_settings(library: Library, **changes: str) -> Library:
    home = library.store.root.parent
    environment = {f"LOCALLLM_{name.upper()}": value for name, value in changes.items()}
    return Library(load_settings({"LOCALLLM_HOME": str(home), "LOCALLLM_CONFIG": str(home / "none")} | environment))


def pulled(library: Library, reference: str = REFERENCE) -> Manifest:
    found = library.resolve(reference)
    assert isinstance(found, HubReference)
    return library.pull(library.choose(found), SILENT, pytest.fail)


def test_from_a_reference_to_a_model_that_can_be_loaded(library: Library) -> None:
    manifest = pulled(library)
    model = library.load(manifest)
    assert library.resolve(REFERENCE) == model
    assert library.resolve(NAME) == model
    assert library.find(REFERENCE) == manifest
    assert library.stored(NAME) == manifest
    assert library.known_as(NAME) == manifest.name
    assert library.head(REFERENCE).trail == (manifest.version,)
    assert [Path(part).read_bytes() for part in model.parts] == list(split_model().values())


@pytest.mark.parametrize("reference", ["nothing:1b", "some-org/Other", "./file.gguf", "echo:hello"])
def test_what_is_not_stored_has_no_name(library: Library, reference: str) -> None:
    assert library.known_as(reference) is None
    with pytest.raises(ModelNotFound):
        library.stored(reference)


def test_what_is_missing_is_told_before_it_is_fetched(library: Library, hub: Hub) -> None:
    found = library.resolve(NAME)
    assert isinstance(found, HubReference)
    wanted = library.choose(found)
    assert library.missing_bytes(wanted) == wanted.size_bytes
    outlook = library.outlook_there(wanted)
    assert (outlook.engine, outlook.forecast.fits) == ("llama_cpp", True)
    assert not list(library.store.root.glob("parts/*.part"))
    manifest = library.pull(wanted, SILENT, pytest.fail)
    assert library.missing_bytes(wanted) == 0
    library.store.path(manifest.files[1]).unlink()
    assert library.missing_bytes(wanted) == manifest.files[1].size_bytes


def test_offline_nothing_opens_a_socket(library: Library, hub: Hub) -> None:
    found = library.resolve(NAME)
    assert isinstance(found, HubReference)
    wanted = library.choose(found)
    manifest = pulled(library)
    library.store.path(manifest.files[1]).unlink()
    offline = with_settings(library, offline="true")
    hub.log.clear()
    for ask in (
        lambda: offline.choose(found),
        lambda: offline.newer(manifest),
        lambda: offline.outlook_there(wanted),
        lambda: offline.pull(wanted, SILENT, pytest.fail),
        lambda: offline.read_repository(NAME, None),
        lambda: offline.repair(
            manifest, verify(manifest, offline.store, lambda _done, _all: None), SILENT, pytest.fail
        ),
    ):
        with pytest.raises(DownloadFailed, match="offline"):
            ask()
    assert hub.log == []


def test_a_copy_shares_its_files_and_follows_nothing(library: Library) -> None:
    manifest = pulled(library)
    copy = library.copy(manifest, "mine:1m")
    assert (copy.name, copy.follows, copy.files) == ("mine:1m", "", manifest.files)
    assert library.store.remove(manifest.name) == 0
    assert library.store.find("mine:1m") == copy
    with pytest.raises(InvalidRequest, match="follows nothing"):
        library.newer(copy)


@pytest.mark.parametrize("name", ["smollm2:135m", "taken:1m", "short"])
def test_no_name_is_taken_twice(library: Library, name: str) -> None:
    manifest = pulled(library)
    library.copy(manifest, "taken:1m")
    library.set_alias("short", REFERENCE)
    with pytest.raises(InvalidRequest):
        library.copy(manifest, name)


def test_an_alias_stands_for_a_reference(library: Library) -> None:
    manifest = pulled(library)
    library.set_alias("short", REFERENCE)
    assert library.find("short") == manifest
    with pytest.raises(InvalidRequest, match="is an alias itself"):
        library.set_alias("shorter", "short")
    with pytest.raises(ModelNotFound):
        library.set_alias("shorter", "no-such-model")
    library.set_alias("short", None)
    with pytest.raises(ModelNotFound):
        library.find("short")


def test_a_newer_version_and_back(library: Library, hub: Hub) -> None:
    first = pulled(library)
    assert library.newer(first) is None
    hub.commit(NAME, split_model(seed=1))
    wanted = library.newer(first)
    assert wanted is not None
    second = library.pull(wanted, SILENT, pytest.fail)
    assert contents(library.store, second) == split_model(seed=1)
    assert library.head(NAME).trail == (first.version, second.version)
    library.store.rollback(NAME + ":F32")
    assert contents(library.store, library.stored(NAME)) == split_model()


def test_a_repair_mends_what_is_broken(library: Library, hub: Hub) -> None:
    manifest = pulled(library)
    path = library.store.path(manifest.files[2])
    path.chmod(0o600)
    path.write_bytes(b"x" * manifest.files[2].size_bytes)
    check = verify(manifest, library.store, lambda _done, _all: None)
    hub.log.clear()
    assert library.repair(manifest, check, SILENT, pytest.fail) == manifest
    assert contents(library.store, manifest) == split_model()
    assert len(hub.gets()) == 1


def test_what_the_user_brought_is_not_fetched(library: Library, tiny_model: Path) -> None:
    manifest = library.take_in(candidate_of(tiny_model, "mine"), lambda _done, _all: None, link=False)
    check = verify(manifest, library.store, lambda _done, _all: None)
    with pytest.raises(LoadFailed, match="cannot be fetched"):
        library.repair(manifest, check, SILENT, pytest.fail)


def test_a_file_takes_no_name_of_a_pulled_model(library: Library, tiny_model: Path) -> None:
    stored_model(library.store, "mine:1m", tiny_model.read_bytes())
    with pytest.raises(InvalidRequest, match="was pulled"):
        library.take_in(candidate_of(tiny_model, "mine:1m"), lambda _done, _all: None, link=True)


def test_a_file_may_be_taken_in_again(library: Library, tiny_model: Path) -> None:
    first = library.take_in(candidate_of(tiny_model, "mine:1m"), lambda _done, _all: None, link=True)
    second = library.take_in(candidate_of(tiny_model, "mine:1m"), lambda _done, _all: None, link=False)
    assert (second.name, second.version) == (first.name, first.version)
    assert not second.files[0].is_linked
    assert isinstance(library.resolve("mine:1m"), LocalModel)


def test_a_checkpoint_is_brought_but_not_run(library: Library, hub: Hub) -> None:
    hub.commit(NAME, checkpoint())
    manifest = pulled(library, NAME)
    assert manifest.format == "safetensors"
    with pytest.raises(LoadFailed, match="no engine here runs"):
        library.load(manifest)


@pytest.mark.skipif(importlib.util.find_spec("model_signing") is None, reason="model-signing is not installed")
def test_signatures_that_are_required_without_a_key_are_a_mistake_of_the_settings(library: Library, hub: Hub) -> None:
    found = library.resolve(NAME)
    assert isinstance(found, HubReference)
    wanted = library.choose(found)
    hub.log.clear()
    with pytest.raises(ConfigError):
        with_settings(library, signatures="require").pull(wanted, SILENT, pytest.fail)
    assert hub.log == []


def test_a_repository_of_a_card_brings_the_cards_defaults(library: Library, hub: Hub) -> None:
    match = library.catalog.find("smollm2:135m")
    assert match is not None
    assert match.card.localllm.hub is not None
    repository = match.card.localllm.hub.repository
    hub.commit(repository, split_model())
    assert pulled(library, f"{repository}:F32").defaults == match.card.localllm.defaults
    assert pulled(library).defaults != match.card.localllm.defaults
