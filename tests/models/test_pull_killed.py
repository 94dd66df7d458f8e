"""Pulls that are killed, anywhere: the next one brings the same model and fetches hardly anything again."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from localllm.models.transfer.part import PartFile
from tests.marks import slow
from tests.models.cards import HUB, KEY, card_text, front_matter, part_of
from tests.models.child import clean_environment
from tests.models.hub import Hub
from tests.models.leftovers import assert_nothing_published
from tests.models.nursery import Nursery
from tests.models.puller import Order
from tests.models.pulls import is_right

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL and fork")

SIZE = 20 * 2**20  # enough for several connections
MOST_AGAIN_BYTES = 2**20
PROCESSES = 8
MOST_RATIO = 1.1
NEVER = 10**9


@pytest.fixture(scope="module")
def large(data: bytes) -> bytes:
    """A model with something behind its tensors."""
    return data + random.Random(0).randbytes(SIZE - len(data))


def card_of(data: bytes, hub: Hub, folder: Path) -> str:
    """Where the card of a model that the hub has is."""
    hub.files[KEY] = data
    path = folder / "tiny.md"
    path.write_text(card_text(front_matter(data, sources=[HUB])))
    return str(path)


@pytest.fixture
def card(tmp_path: Path, large: bytes, hub: Hub) -> str:
    return card_of(large, hub, tmp_path)


@pytest.fixture
def nursery(hub: Hub, tmp_path: Path) -> Iterator[Nursery]:
    with Nursery(clean_environment(tmp_path, HF_ENDPOINT=hub.url)) as nursery:
        yield nursery


def asked_bytes(hub: Hub) -> int:
    """How many bytes were asked for."""
    total = 0
    for asked in hub.gets():
        assert asked.range is not None
        first, last = asked.range.removeprefix("bytes=").split("-")
        total += int(last) - int(first) + 1
    return total


def assert_all_or_nothing(store: Store, data: bytes) -> None:
    """What a reader sees after a kill: the whole model, or none."""
    survey = store.survey()
    assert not survey.damages
    assert [is_right(store, manifest, data) for manifest in survey.manifests] in ([], [True])


def killed_and_finished(offset: int, nursery: Nursery, hub: Hub, card: str, store: Store, large: bytes) -> int:
    """Kill a pull after so many bytes, finish it; returns the bytes that were fetched again."""
    home = str(store.root.parent)
    assert nursery.pull(Order(card=card, home=home, call="pwrite", number=offset)) == [-signal.SIGKILL]
    assert_nothing_published(store)
    assert PartFile.done_bytes(part_of(store, large)) <= offset
    hub.log.clear()
    assert nursery.pull(Order(card=card, home=home)) == [0]
    manifest = store.find("tiny:1m")
    assert manifest is not None
    assert is_right(store, manifest, large)
    return asked_bytes(hub) - (SIZE - offset)


@pytest.mark.parametrize("count", [slow(2), slow(48)])
@pytest.mark.timeout(600)
def test_a_kill_at_any_byte_costs_little(
    count: int, nursery: Nursery, hub: Hub, card: str, tmp_path: Path, large: bytes
) -> None:
    source = random.Random(count)
    offsets = [1, SIZE, *(source.randrange(1, SIZE) for _ in range(count))]
    stores = [Store(tmp_path / f"home-{offset}") for offset in offsets]
    again = [
        killed_and_finished(offset, nursery, hub, card, store, large)
        for offset, store in zip(offsets, stores, strict=True)
    ]
    assert max(again) <= MOST_AGAIN_BYTES, list(zip(offsets, again, strict=True))


@pytest.mark.parametrize(
    "call",
    ["chmod", *map(slow, ("fsync", "replace", "mkdir", "ftruncate"))],
)
@pytest.mark.timeout(600)
def test_a_kill_at_any_step_leaves_all_or_nothing(
    call: str, nursery: Nursery, hub: Hub, tmp_path: Path, data: bytes
) -> None:
    """Also between the rename of the bytes, their manifest, and the head that puts it into use."""
    card = card_of(data, hub, tmp_path)
    for number in range(100):
        store = Store(tmp_path / f"home-{number}")
        (status,) = nursery.pull(Order(card=card, home=str(store.root.parent), call=call, number=number))
        if status == 0:  # there are no more steps of that kind
            assert number > 0
            return
        assert status == -signal.SIGKILL
        assert_all_or_nothing(store, data)
        has_all = PartFile.done_bytes(part_of(store, data)) == len(data) or any(store.root.glob("blobs/*"))
        hub.log.clear()
        assert nursery.pull(Order(card=card, home=str(store.root.parent))) == [0]
        assert [is_right(store, manifest, data) for manifest in store.survey().manifests] == [True]
        if has_all:
            assert hub.log == []
    pytest.fail(f"more than {number} calls of {call}")


@pytest.mark.slow
def test_many_processes_fetch_one_copy(nursery: Nursery, hub: Hub, card: str, store: Store, large: bytes) -> None:
    home = str(store.root.parent)
    assert nursery.pull(Order(card=card, home=home, count=PROCESSES)) == [0] * PROCESSES
    assert asked_bytes(hub) <= MOST_RATIO * SIZE
    manifest = store.find("tiny:1m")
    assert manifest is not None
    assert is_right(store, manifest, large)
    assert len(list(store.root.glob("blobs/*"))) == 1
    assert not list(store.root.glob("parts/*"))


@pytest.mark.slow
def test_of_many_processes_one_is_killed_and_another_goes_on(
    nursery: Nursery, hub: Hub, card: str, store: Store, large: bytes
) -> None:
    """Each kills itself after half of the bytes, if it fetches as many: the first one does."""
    order = Order(card=card, home=str(store.root.parent), call="pwrite", number=SIZE // 2 + 2**20, count=4)
    assert sorted(nursery.pull(order)) == [-signal.SIGKILL, 0, 0, 0]
    assert asked_bytes(hub) <= 2 * SIZE
    manifest = store.find("tiny:1m")
    assert manifest is not None
    assert is_right(store, manifest, large)
