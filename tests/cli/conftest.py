"""A shell whose hub is on loopback, and small real models for the hub to have."""

import sys
from pathlib import Path

import pytest

from localllm.models.catalog import Catalog
from localllm.models.hub import ask
from localllm.models.storage.store import Store
from tests.cli.shell import Shell
from tests.models.conftest import data, here, hub, hub_session, one_hub
from tests.models.hub import Hub
from tests.tiny import TEMPLATE, write_tiny_model

__all__ = ["data", "here", "hub", "hub_session", "one_hub"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Three models of the same size; the second can call tools and thinks."""
    folder = tmp_path_factory.mktemp("models")
    able = (
        "{% for message in messages %}{{ message['content'] }}{% endfor %}{% if tools %}{{ tools }}{% endif %}<think>"
    )
    paths = [
        write_tiny_model(folder / f"{seed}.gguf", seed=seed, template=template)
        for seed, template in enumerate((TEMPLATE, able, TEMPLATE))
    ]
    return [path.read_bytes() for path in paths]


@pytest.fixture
def store(clean_environment: Path) -> Store:
    """The store of the shell's home."""
    return Store(clean_environment)


@pytest.fixture(scope="session")
def bundled() -> Catalog:
    """The cards; reading them takes longer than most verbs."""
    return Catalog.bundled()


@pytest.fixture
def shell(
    clean_environment: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bundled: Catalog,
) -> Shell:
    """The command line in this process; no other program's models are found."""
    monkeypatch.setattr(Catalog, "bundled", lambda: bundled)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name in ("OLLAMA_MODELS", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "LLAMA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # typer sets its own
    monkeypatch.setattr(sys, "stdin", None)  # nothing is piped in
    return Shell(capsys, monkeypatch)


@pytest.fixture
def online(shell: Shell, here: None, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The same with a hub, which is never waited for before it is asked again."""
    monkeypatch.setattr(ask, "PAUSES_SECONDS", (0.0, 0.0))
    return shell
