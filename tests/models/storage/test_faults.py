"""The disk refuses one step of a change, every one in turn: nothing is lost, and the same again succeeds."""

import errno
import os
import shutil
import stat
from itertools import count
from pathlib import Path

import pytest

from localllm.errors import ModelError, NoRoom
from localllm.models.files import write_durably
from localllm.models.storage.store import Store
from tests.marks import mostly_slow
from tests.models.storage.steps import AFTER, CHANGES, CHANGES_OF_A_STORE, READS, assert_reads_as, at_step, without_sync

FAULTS = {"full": errno.ENOSPC, "broken": errno.EIO, "forbidden": errno.EACCES, "read-only": errno.EROFS}


@pytest.mark.parametrize("fault", mostly_slow(FAULTS, "full"))
@pytest.mark.parametrize("change", mostly_slow(CHANGES_OF_A_STORE, "second version", "rollback", "alias"))
def test_a_change_that_the_disk_refuses_loses_nothing_and_can_be_repeated(
    change: str, fault: str, tmp_path: Path
) -> None:
    prepare, do, allowed = CHANGES_OF_A_STORE[change]
    functions = CHANGES + READS if fault == "broken" else CHANGES

    def fail() -> None:
        raise OSError(FAULTS[fault], os.strerror(FAULTS[fault]))

    with without_sync():
        prepare(Store(tmp_path / "before"))
        refused = 0
        for step in count():
            store = Store(Path(shutil.copytree(tmp_path / "before", tmp_path / str(step))))
            raised: Exception | None = None
            with at_step(step, functions, fail) as called:
                try:
                    do(store)
                except ModelError as error:
                    raised = error
            if len(called) <= step:
                break
            refused += raised is not None
            assert_reads_as(store, {*allowed, AFTER[change]})
            assert_parts_can_be_taken_up(store)
            do(store)
            assert_reads_as(store, {AFTER[change]})
    assert raised is None
    assert refused > step / 3  # the others are steps that may fail


def assert_parts_can_be_taken_up(store: Store) -> None:
    for part in store.root.glob("parts/*"):
        assert stat.S_IMODE(part.stat().st_mode) & 0o600 == 0o600


@pytest.mark.parametrize("change", ["first version", "second version", "rollback", "pin", "alias"])
def test_a_full_disk_is_told_from_others(change: str, tmp_path: Path) -> None:
    prepare, do, _ = CHANGES_OF_A_STORE[change]

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store(tmp_path)
    prepare(store)
    with at_step(0, ("write",), fail), pytest.raises(NoRoom, match="localllm gc --dry-run") as caught:
        do(store)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("function", ["open", "write", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(function: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_durably(path, b"old")

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with at_step(0, (function,), fail), pytest.raises(OSError, match="No space"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
