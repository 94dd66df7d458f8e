"""Bytes, places and servers for the tests of transfers."""

import os
from pathlib import Path

import pytest

from tests.models.transfer.transfers import LARGE_BYTES, random_bytes

_SMALL_BYTES = 200_000


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the developer's own."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a part file is to be."""
    folder = tmp_path / "parts"
    folder.mkdir()
    return folder / "x.part"


@pytest.fixture(scope="session")
def small() -> bytes:
    """A file that takes one connection."""
    return random_bytes(_SMALL_BYTES)


@pytest.fixture(scope="session")
def large() -> bytes:
    """A file that takes several."""
    return random_bytes(LARGE_BYTES)
