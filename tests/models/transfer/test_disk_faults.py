"""Disks that are full, broken or forbidden: a typed error, nothing lost, and the next attempt goes on."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.errors import ModelError, NoRoom
from localllm.models.transfer import flusher
from localllm.models.transfer.part import PartFile
from tests.marks import mostly_slow
from tests.models.transfer.server import Server
from tests.models.transfer.transfers import assert_only_part_left, get

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the calls that fail here are those of POSIX")

ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE]


def failing(name: str, number: int, times: int, skip: int = 0) -> Callable[..., object]:
    """The function of `os` that fails after `skip` calls, so many times."""
    function, calls = getattr(os, name), 0

    def call(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if skip < calls <= skip + times:
            raise OSError(number, os.strerror(number))
        return function(*arguments, **options)

    return call


@pytest.mark.parametrize("number", mostly_slow(ERRORS, errno.ENOSPC), ids=errno.errorcode.get)
@pytest.mark.parametrize(
    ("name", "skip"),
    [
        ("open", 0),  # the part
        ("open", 1),  # the journal
        ("posix_fallocate", 0),
        ("ftruncate", 0),  # of the journal
        ("pwrite", 0),  # of the journal
        ("pwrite", 1),  # the first bytes
        ("pwrite", 2),
        ("pwrite", 21),
        ("preadv", 1),  # of the hasher
        ("fsync", 0),
    ],
)
def test_a_fault_loses_nothing(
    name: str, skip: int, number: int, large: bytes, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = NoRoom if number in {errno.ENOSPC, errno.EDQUOT} else ModelError
    with Server(large) as server:
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing(name, number, 10**9, skip))
            with pytest.raises(ModelError, match=os.strerror(number)) as caught:
                get(server.url, path, large)
        assert type(caught.value) is kind
        assert "\n" not in caught.value.message
        if kind is NoRoom:
            assert "free some space or set LOCALLLM_HOME" in caught.value.message
        kept = PartFile.done_bytes(path)
        assert kept == len(large) if name == "fsync" else kept >= 0
        assert_only_part_left(path)
    with Server(large) as server:  # another one: the first may still be reading what it was asked
        get(server.url, path, large)
        asked = sum(len(asked) for asked in server.ranges() if asked is not None)
        assert asked == len(large) - kept


def test_a_file_system_that_cannot_reserve(large: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing("posix_fallocate", errno.EOPNOTSUPP, 10**9))
    with Server(large) as server:
        get(server.url, path, large)


def test_room_is_asked_for_before_the_server_is(large: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing("posix_fallocate", errno.ENOSPC, 1))
    with Server(large) as server, pytest.raises(NoRoom, match=f"make room for {len(large)} bytes"):
        get(server.url, path, large)
    assert server.log == []


def test_a_sync_that_fails_on_the_way_is_told_at_the_end(
    large: bytes, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher, "_EVERY_BYTES", len(large) // 2)
    with Server(large) as server:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing("fsync", errno.EIO, 1))
            with pytest.raises(ModelError, match="Input/output"):
                get(server.url, path, large)
        get(server.url, path, large)
