"""The hub of the tests of `models`, for what is pulled here."""

from tests.models.conftest import data, here, hub, hub_session, one_hub, store

__all__ = ["data", "here", "hub", "hub_session", "one_hub", "store"]
