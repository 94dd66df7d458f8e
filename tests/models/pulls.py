"""Pulls from chosen sources, and why one is refused."""

from collections.abc import Collection

import pytest

from localllm.errors import DownloadFailed
from localllm.models.digest import Digest
from localllm.models.manifest import Manifest
from localllm.models.progress import OnProgress
from localllm.models.pull import PullOptions, pull
from localllm.models.storage.store import Store
from localllm.models.wanted import Wanted, pinned
from tests.models.cards import Field, make_card
from tests.models.leftovers import assert_nothing_published


def wanted_of(data: bytes, *sources: Field, name: str = "tiny:1m") -> Wanted:
    """A card's pinned file, from these sources; from all that test cards have where none is given."""
    wanted = pinned(make_card(data, name=name, sources=list(sources) or None))
    assert wanted is not None
    return wanted


def bring(
    store: Store,
    wanted: Wanted,
    on_progress: OnProgress = lambda _: None,
    distrust: Collection[Digest] = (),
    **options: object,
) -> Manifest:
    """Pull it; a warning is an error."""
    return pull(wanted, store, PullOptions(**options), on_progress, pytest.fail, distrust)  # type: ignore[arg-type]


def get(store: Store, data: bytes, source: Field, name: str = "tiny:1m") -> Manifest:
    """From this source alone."""
    return bring(store, wanted_of(data, source, name=name))


def refused(store: Store, data: bytes, source: Field) -> str:
    """Why it could not be had from this source."""
    with pytest.raises(DownloadFailed) as caught:
        get(store, data, source)
    assert_nothing_published(store)
    assert "\n" not in caught.value.message
    return caught.value.message


def is_right(store: Store, manifest: Manifest, data: bytes) -> bool:
    """Whether a model of one file consists of `data`."""
    (file,) = manifest.files
    return store.find(manifest.name) == manifest and store.path(file).read_bytes() == data
