"""The hub of the tests of `models`, for what is pulled here; and a program of ExecuTorch."""

from tests.exports import tiny_program
from tests.models.conftest import data, here, hub, hub_session, one_hub, store

__all__ = ["data", "here", "hub", "hub_session", "one_hub", "store", "tiny_program"]
