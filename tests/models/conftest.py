"""A hub, a store and bytes to move between them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from localllm.models.storage.store import Store
from tests.models.cards import KEY
from tests.models.child import clean_environment
from tests.models.hub import Hub


@pytest.fixture(scope="session")
def data(tiny_model: Path) -> bytes:
    """What a model consists of."""
    return tiny_model.read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home")


@pytest.fixture(scope="session")
def one_hub() -> Iterator[Hub]:
    """The server behind `hub`; starting one takes longer than most tests."""
    with Hub() as hub:
        yield hub


@pytest.fixture
def hub(one_hub: Hub, data: bytes) -> Iterator[Hub]:
    """A hub that has the file of `make_card(data)`."""
    one_hub.files[KEY] = data
    yield one_hub
    one_hub.reset()


@pytest.fixture(scope="session")
def hub_session() -> Iterator[None]:
    """Closes huggingface_hub's connections at the end; reading certificates anew for each test takes longest."""
    yield
    close_session()


@pytest.fixture
def here(hub: Hub, hub_session: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This process asks `hub`, and has no settings of the developer's own; pip finds nothing."""
    wanted = clean_environment(tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="our-secret")
    for name in set(os.environ) - set(wanted):
        monkeypatch.delenv(name)
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"  # HF_ENDPOINT is read once, at import
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)


@pytest.fixture
def pip_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip finds wheels in this folder alone."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in clean_environment(tmp_path, PIP_FIND_LINKS=str(folder)).items():
        if name.startswith("PIP_"):
            monkeypatch.setenv(name, value)
    return folder
