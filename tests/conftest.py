"""Fixtures for all tests: a clean environment, and models to run."""

import os
import tempfile
from pathlib import Path

import pytest

from localllm.cli.compose import bring
from localllm.config import load_settings
from localllm.errors import DownloadFailed
from localllm.models.local import LocalModel
from tests.tiny import write_tiny_model

CACHE = Path(__file__).parent.parent / ".cache"  # kept between runs: the starter model is fetched once


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the homes."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, homes: Path) -> Path:
    """No setting of the developer's own, and an empty home; returns the home."""
    for name in [name for name in os.environ if name.startswith("LOCALLLM_")]:
        monkeypatch.delenv(name)
    home = Path(tempfile.mkdtemp(dir=homes))
    monkeypatch.setenv("LOCALLLM_HOME", str(home))
    monkeypatch.setenv("LOCALLLM_CONFIG", str(home / "config.toml"))
    return home


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF with random weights."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def starter_home() -> Path:
    """A home that holds the starter model, fetched on the first run."""
    home = CACHE / "home"
    try:
        bring("smollm2:135m", load_settings({"LOCALLLM_HOME": str(home), "LOCALLLM_CONFIG": os.devnull}))
    except DownloadFailed as error:
        pytest.skip(f"the starter model cannot be fetched: {error}")
    return home


@pytest.fixture(scope="session")
def starter_model(starter_home: Path) -> LocalModel:
    """The starter model."""
    return bring("smollm2:135m", load_settings({"LOCALLLM_HOME": str(starter_home), "LOCALLLM_CONFIG": os.devnull}))
