"""Pulls from chosen sources, and why one is refused."""

import pytest

from localllm.errors import DownloadFailed
from localllm.models.pull import pull
from localllm.models.store import Manifest, Store
from tests.models.cards import Field, make_card
from tests.models.leftovers import assert_nothing_published


def get(store: Store, data: bytes, source: Field, name: str = "tiny:1m") -> Manifest:
    """From this source alone."""
    return pull(make_card(data, name=name, sources=[source]), store, lambda *_: None)


def refused(store: Store, data: bytes, source: Field) -> str:
    """Why it could not be had from this source."""
    with pytest.raises(DownloadFailed) as caught:
        get(store, data, source)
    assert_nothing_published(store)
    assert "\n" not in caught.value.message
    return caught.value.message
