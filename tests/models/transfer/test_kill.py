"""Killed at any byte: the next attempt brings the same file and fetches at most 1 MiB again."""

import os
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from localllm.models.transfer.address import Location
from localllm.models.transfer.fetch import fetch
from localllm.models.transfer.part import PartFile
from tests.marks import slow
from tests.models.child import Child, clean_environment
from tests.models.transfer import hostile as bad
from tests.models.transfer.server import Exchange, Server
from tests.models.transfer.transfers import OPTIONS, assert_only_part_left, expected_of, random_bytes

SIZE = 33 * 2**20
BLOCK_BYTES = 64  # of random data: equal by chance once in 2**512
MOST_AGAIN_BYTES = 2**20


class Killer:
    """Sends the file, and kills the one who asks when so many bytes have been sent to all its connections."""

    def __init__(self, data: bytes, after_bytes: int) -> None:
        self.pid: int | None = None
        self.started = threading.Event()
        self._view = memoryview(data)
        self._left = after_bytes
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> bool:
        asked = exchange.asked.range or range(len(self._view))
        where = f"{asked.start}-{asked.stop - 1}/{len(self._view)}"
        exchange.send(f"HTTP/1.1 206 Partial\nContent-Length: {len(asked)}\nContent-Range: bytes {where}")
        for start in range(asked.start, asked.stop, 50_000):
            self._send(exchange, self._view[start : min(start + 50_000, asked.stop)])
        return True

    def _send(self, exchange: Exchange, piece: memoryview) -> None:
        with self._lock:
            count = min(len(piece), self._left)
            self._left -= count
            is_end = self._left == 0
        exchange.connection.sendall(piece[:count])
        if is_end and self.started.wait(60) and self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            raise OSError("the one who asked is dead")


def bytes_again(path: Path, data: bytes, asked: list[range]) -> int:
    """How many bytes that are in the part file, and right, were asked for once more."""
    there = np.frombuffer(path.read_bytes().ljust(len(data), b"\0"), np.uint8) == np.frombuffer(data, np.uint8)
    received = there.reshape(-1, BLOCK_BYTES).all(axis=1).repeat(BLOCK_BYTES)
    return sum(int(received[one.start : one.stop].sum()) for one in asked)


def killed_and_finished(after_bytes: int, data: bytes, path: Path, tmp_path: Path) -> int:
    """Kill a child after so many bytes, finish here; returns the bytes that came twice."""
    killer = Killer(data, after_bytes)
    expected = expected_of(data)
    with Server(b"", killer) as server:
        arguments = (server.url, str(path), str(expected.sha256), str(len(data)))
        environment = clean_environment(tmp_path)
        with Child("-m", "tests.models.transfer.fetcher", *arguments, environment=environment) as child:
            killer.pid = child.process.pid
            killer.started.set()
            code, _ = child.finish()
    assert code == -signal.SIGKILL
    assert_only_part_left(path)
    done_bytes = PartFile.done_bytes(path)
    before = path.parent / "before"
    before.write_bytes(path.read_bytes())
    with Server(data) as server, PartFile(path, expected) as part:
        assert part.size_bytes == done_bytes
        fetch(lambda: Location(url=server.url), part, OPTIONS, lambda _: None)
        asked = [one for one in server.ranges() if one is not None]
    assert path.read_bytes() == data
    assert sum(map(len, asked)) == len(data) - done_bytes
    again = bytes_again(before, data, asked)
    before.unlink()
    PartFile.discard(path)
    return again


@pytest.fixture(scope="module")
def huge() -> bytes:
    return random_bytes(SIZE)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("count", [slow(4), slow(48)])
@pytest.mark.timeout(600)
def test_a_kill_at_any_byte_costs_little(count: int, huge: bytes, path: Path, tmp_path: Path) -> None:
    source = random.Random(count)
    offsets = [1, SIZE - 1, *(source.randrange(SIZE) for _ in range(count))]
    again = [killed_and_finished(offset, huge, path, tmp_path) for offset in offsets]
    assert max(again) <= MOST_AGAIN_BYTES, list(zip(offsets, again, strict=True))


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_control_c_ends_it_at_once_and_quietly(huge: bytes, path: Path, tmp_path: Path) -> None:
    expected = expected_of(huge)
    with Server(huge, bad.stalled(2_000_000)) as server:
        arguments = (server.url, str(path), str(expected.sha256), str(len(huge)))
        environment = clean_environment(tmp_path)
        with Child("-m", "tests.models.transfer.fetcher", *arguments, environment=environment) as child:
            child.until_bytes(1)
            child.process.send_signal(signal.SIGINT)
            output, errors = child.process.communicate()  # long before a stalled connection is given up
            assert (child.process.returncode, errors) == (130, "")
            assert output.endswith("interrupted\n")
    assert 0 < PartFile.done_bytes(path) < len(huge)
