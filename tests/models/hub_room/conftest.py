"""This process asks the hub of the tests, and never waits before it asks again."""

import pytest
from huggingface_hub import constants

from localllm.models.hub import ask
from tests.models.hub import Hub


@pytest.fixture
def asking(here: None, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub, which this process has the address of and a good token for."""
    monkeypatch.setattr(ask, "PAUSES_SECONDS", (0.0, 0.0))
    return hub


@pytest.fixture
def without_token(asking: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The same for somebody who has no token."""
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent/token")
    return asking
