"""A hub, a store and bytes to move between them."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.models.store import Store
from tests.models.cards import KEY
from tests.models.child import clean_environment
from tests.models.hub import Hub


@pytest.fixture
def data() -> bytes:
    """What a model consists of."""
    return b"GGUF" + random.Random(1).randbytes(300_000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home")


@pytest.fixture
def hub(data: bytes) -> Iterator[Hub]:
    """A hub that has the file of `make_card(data)`."""
    with Hub() as hub:
        hub.files[KEY] = data
        yield hub


@pytest.fixture
def pip_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip finds wheels in this folder alone."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in clean_environment(tmp_path, PIP_FIND_LINKS=str(folder)).items():
        if name.startswith("PIP_"):
            monkeypatch.setenv(name, value)
    return folder
