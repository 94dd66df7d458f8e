"""Disks that fail at any step of a pull: a typed error, nothing lost, and the next pull brings the model."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.errors import ModelError, NoRoom
from localllm.models.manifest import Manifest
from localllm.models.storage.store import Store
from localllm.models.transfer.part import PartFile
from tests.marks import mostly_slow, slow
from tests.models.cards import HUB, part_of, stored_model
from tests.models.hub import Hub
from tests.models.pulls import get, is_right

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the calls that fail here are those of POSIX"),
    pytest.mark.usefixtures("here"),
]

CALLS = ["open", "mkdir", "posix_fallocate", "ftruncate", "pwrite", "preadv", "write", "fsync", "replace", "chmod"]
MOST_CALLS = 200


def failing(name: str, number: int, skip: int, home: Path) -> Callable[..., object]:
    """The function of `os` that fails once after `skip` calls; of those with a path, the ones below `home` count."""
    function, left = getattr(os, name), skip

    def call(*arguments: object, **options: object) -> object:
        nonlocal left
        target = arguments[0]
        if isinstance(target, int) or home in Path(os.fspath(target)).parents:  # type: ignore[call-overload]
            left -= 1
            if left == -1:
                raise OSError(number, os.strerror(number))
        return function(*arguments, **options)

    call.has_failed = lambda: left < 0  # type: ignore[attr-defined]
    return call


def pull_with_fault(store: Store, data: bytes, call: str, number: int, skip: int) -> bool:
    """Whether the fault came about."""
    fault = failing(call, number, skip, store.root.parent)
    failure: ModelError | None = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, fault)
        try:
            get(store, data, HUB)
        except ModelError as error:
            failure = error
    assert failure is None or "\n" not in failure.message
    if failure is not None and call != "open":  # also of files that are only read
        assert isinstance(failure, NoRoom) == (number == errno.ENOSPC)
    has_failed: bool = fault.has_failed()  # type: ignore[attr-defined]
    return has_failed


def assert_nothing_lost(store: Store, other: Manifest) -> None:
    """Another model, and no half of this one."""
    survey = store.survey()
    assert not survey.damages
    assert other in survey.manifests
    assert all(store.is_whole(manifest) for manifest in survey.manifests)
    assert all(part.stat().st_mode & 0o600 == 0o600 for part in store.root.glob("parts/*.part"))


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, *map(slow, (errno.EIO, errno.EACCES, errno.EROFS))],
    ids=lambda number: errno.errorcode[number],
)
@pytest.mark.parametrize("call", mostly_slow(CALLS, "write", "replace", "posix_fallocate"))
@pytest.mark.timeout(300)
def test_a_fault_at_any_step(call: str, number: int, hub: Hub, tmp_path: Path, data: bytes) -> None:
    for skip in range(MOST_CALLS):
        store = Store(tmp_path / f"home-{skip}")
        other = stored_model(store, "other:1m", b"GGUF of another")
        has_failed = pull_with_fault(store, data, call, number, skip)
        assert_nothing_lost(store, other)
        has_all = PartFile.done_bytes(part_of(store, data)) == len(data) or store.find("tiny:1m") is not None
        hub.log.clear()
        assert is_right(store, get(store, data, HUB), data)
        if has_all:
            assert hub.log == []
        if not has_failed:  # there are no more calls of that kind
            assert skip > 0
            return
    pytest.fail(f"more than {MOST_CALLS} calls of {call}")
