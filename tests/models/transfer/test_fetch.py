"""Fetching from a server that works: several connections, going on, and ending when told to."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from localllm.errors import ConfigError, IntegrityError
from localllm.models.transfer.address import Location
from localllm.models.transfer.expected import Expected
from localllm.models.transfer.fetch import fetch
from localllm.models.transfer.options import FetchOptions
from localllm.models.transfer.part import PartFile
from tests.models.transfer import hostile as bad
from tests.models.transfer.server import Exchange, Server, good
from tests.models.transfer.transfers import OPTIONS, SEGMENT_BYTES, get, part_of


@pytest.fixture(autouse=True)
def no_stray_threads() -> Iterator[None]:
    """Whatever happens, no thread of ours outlives the fetch."""
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.startswith(("fetch-", "part-"))] == []


def test_a_small_file_comes_by_one_request(small: bytes, path: Path) -> None:
    with Server(small) as server:
        get(server.url, path, small)
        assert server.ranges() == [None]
        assert server.log[0].headers["accept-encoding"] == "identity"


def test_several_connections_share_a_large_one(large: bytes, path: Path) -> None:
    together = threading.Barrier(OPTIONS.connections)

    def answer(exchange: Exchange) -> bool:
        if 1 <= exchange.asked.number <= OPTIONS.connections:
            together.wait(60)  # ends only if so many ask at the same time
        return good(exchange)

    with Server(large, answer) as server:
        get(server.url, path, large)
        wanted = [range(start, start + SEGMENT_BYTES) for start in range(0, len(large), SEGMENT_BYTES)]
        assert sorted(map(str, server.ranges())) == sorted(map(str, wanted))


@pytest.mark.parametrize("connections", [1, 2, 16])
def test_as_many_connections_as_wished(connections: int, large: bytes, path: Path) -> None:
    with Server(large) as server:
        get(server.url, path, large, msgspec.structs.replace(OPTIONS, connections=connections))


def test_the_rest_alone_is_asked_for(large: bytes, path: Path) -> None:
    with part_of(path, large) as part:
        part.append(0, large[:1000])
        part.append(3, large[3 * SEGMENT_BYTES : 4 * SEGMENT_BYTES])
    told: list[int] = []
    with Server(large) as server:
        get(server.url, path, large, on_bytes=told.append)
        assert range(1000, SEGMENT_BYTES) in server.ranges()
        assert sum(len(asked) for asked in server.ranges() if asked) == len(large) - 1000 - SEGMENT_BYTES
    assert told[0] == 1000 + SEGMENT_BYTES


def test_nothing_is_asked_when_all_is_there(small: bytes, path: Path) -> None:
    with part_of(path, small) as part:
        part.write(small)
    with Server(small) as server:
        get(server.url, path, small)
        assert server.log == []


@pytest.mark.parametrize("count", [1000, 200_000])
def test_a_leftover_that_is_wrong_costs_one_more_time(count: int, small: bytes, path: Path) -> None:
    with part_of(path, small) as part:
        part.write(bytes(count))
    with Server(small) as server:
        get(server.url, path, small)
        assert server.ranges()[-1] is None


def test_wrong_bytes_after_a_leftover_end_too(small: bytes, path: Path) -> None:
    with part_of(path, small) as part:
        part.write(bytes(1000))
    with Server(bytes(len(small))) as server, pytest.raises(IntegrityError, match="do not match"):
        get(server.url, path, small)
    assert len(server.log) == 2


def test_a_small_file_of_git(small: bytes, path: Path) -> None:
    git_sha1 = hashlib.sha1(b"blob %d\0" % len(small) + small).hexdigest()
    with Server(small) as server, PartFile(path, Expected(size_bytes=len(small), git_sha1=git_sha1)) as part:
        fetch(lambda: Location(url=server.url), part, FetchOptions(), lambda _: None)
        assert part.finish() == hashlib.sha256(small).hexdigest()


def test_an_empty_file_is_not_even_asked_for(path: Path) -> None:
    with Server(b"") as server:
        get(server.url, path, b"")
        assert server.log == []


def test_a_server_that_allows_two_connections_only(large: bytes, path: Path) -> None:
    free = threading.Semaphore(2)

    def answer(exchange: Exchange) -> bool:
        if not free.acquire(blocking=False):
            exchange.send("HTTP/1.1 503 Too many\nContent-Length: 0")
            return True
        try:
            return good(exchange)
        finally:
            free.release()

    with Server(large, answer) as server:
        get(server.url, path, large)


def test_the_first_error_ends_the_others(large: bytes, path: Path) -> None:
    def answer(exchange: Exchange) -> bool:
        if exchange.asked.number < OPTIONS.connections:
            return bool(bad.stalled(100)(exchange)) if exchange.asked.number else good(exchange)
        exchange.send("HTTP/1.1 410 Gone\nContent-Length: 0")
        return True

    with Server(large, answer) as server, pytest.raises(Exception, match="410 Gone"):
        get(server.url, path, large)


@pytest.mark.parametrize("count", [0, 100, 300_000])
def test_an_interrupt_in_the_calling_thread_ends_all_and_keeps_what_is_there(
    count: int, large: bytes, path: Path
) -> None:
    def interrupt(done: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    with Server(large, bad.stalled(100_000)) as server, pytest.raises(KeyboardInterrupt):
        get(server.url, path, large, on_bytes=interrupt)
    kept = PartFile.done_bytes(path)
    assert kept >= count
    with Server(large) as server:
        get(server.url, path, large)
        assert sum(len(asked) for asked in server.ranges() if asked) == len(large) - kept


def test_a_limit_on_speed_changes_no_bytes(large: bytes, path: Path) -> None:
    with Server(large) as server:
        get(server.url, path, large, msgspec.structs.replace(OPTIONS, bytes_per_second=100 * 2**20))


@pytest.mark.parametrize(
    "options",
    [
        FetchOptions(connections=0),
        FetchOptions(connections=17),
        FetchOptions(bytes_per_second=0),
        FetchOptions(stall_seconds=0.0),
    ],
)
def test_options_out_of_range(options: FetchOptions, small: bytes, path: Path) -> None:
    with pytest.raises(ConfigError):
        get("http://127.0.0.1:9/", path, small, options)
