"""Putting the fake where this process and its children find it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.mlc_fake import FAKE

PACKAGES = ("mlc_llm", "tvm")


@pytest.fixture
def fake_mlc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """MLC LLM as far as the fake goes, with a cache of its own for libraries. Nothing of it stays imported."""
    _forget()
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.syspath_prepend(str(FAKE))
    monkeypatch.setenv("MLC_LLM_HOME", str(tmp_path / "mlc-home"))
    yield monkeypatch
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        del sys.modules[name]
