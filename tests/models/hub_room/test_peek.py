"""The beginning of a file, without the rest of it."""

import pytest

from localllm.errors import DownloadFailed
from localllm.models.hub.address import locate
from localllm.models.hub.peek import MOST_BYTES, read_beginning
from localllm.models.transfer.address import Location
from tests.models.hub import CHUNK_BYTES, Hub
from tests.models.hub_room.holdings import FILES, REPOSITORY, expected_of, source_of

DATA = FILES["tiny.Q4_0.gguf"]


@pytest.fixture
def location(asking: Hub) -> Location:
    """Of a file in LFS."""
    found = locate(source_of(asking.commit(REPOSITORY, FILES)), expected_of())
    asking.log.clear()
    return found


@pytest.mark.parametrize("size_bytes", [1, 4, 1000, len(DATA), len(DATA) + 1, MOST_BYTES])
def test_the_first_bytes(asking: Hub, location: Location, size_bytes: int) -> None:
    assert read_beginning(location, size_bytes) == DATA[:size_bytes]
    assert [(asked.host, asked.range, asked.token) for asked in asking.log] == [
        ("localhost", f"bytes=0-{size_bytes - 1}", None)
    ]


def test_a_small_file_comes_from_the_hub_itself(asking: Hub) -> None:
    commit = asking.commit(REPOSITORY, FILES)
    found = locate(source_of(commit, "README.md"), expected_of("README.md"))
    assert read_beginning(found, 100) == FILES["README.md"]
    assert asking.log[-1].token == "Bearer our-secret"


def test_a_server_that_ignores_ranges_is_left_early(asking: Hub, location: Location) -> None:
    asking.faults.ignores_range = True
    asking.faults.body = b"GGUF" * 1_000_000
    asking.faults.hold_after = CHUNK_BYTES  # what is behind it never comes
    assert read_beginning(location, 8) == b"GGUFGGUF"


@pytest.mark.parametrize("size", [0, 3])
def test_a_file_that_ends_before(asking: Hub, location: Location, size: int) -> None:
    asking.faults.body = b"x" * size
    assert read_beginning(location, 10) == b"x" * size


@pytest.mark.parametrize(
    ("fault", "value", "words"),
    [
        ("range_offset", 5, "asked for the first 100 bytes, the hub answers 'bytes 5-104/"),
        ("get_status", 403, "the hub answers 403 for the beginning of the file"),
        ("get_status", 404, "the hub answers 404 for the beginning of the file"),
        ("get_status", 503, "the hub answers 503 Service Unavailable"),
    ],
)
def test_another_answer_is_refused(asking: Hub, location: Location, fault: str, value: int, words: str) -> None:
    setattr(asking.faults, fault, value)
    with pytest.raises(DownloadFailed, match=words):
        read_beginning(location, 100)


def test_a_connection_that_breaks_is_asked_again(asking: Hub, location: Location) -> None:
    asking.faults.cuts = [10]
    assert read_beginning(location, 100) == DATA[:100]
    assert len(asking.log) == 2


def test_a_redirect_takes_no_token_along(asking: Hub) -> None:
    commit = asking.commit(REPOSITORY, FILES)
    found = locate(source_of(commit, "README.md"), expected_of("README.md"))
    with Hub() as other:
        other.commit(REPOSITORY, FILES)
        asking.faults.moved_to = other.url
        assert read_beginning(found, 4) == FILES["README.md"][:4]
        assert [asked.token for asked in other.log] == [None]


@pytest.mark.parametrize("size_bytes", [-1, 0, MOST_BYTES + 1])
def test_other_sizes_are_a_mistake_of_the_program(location: Location, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="bytes can be read"):
        read_beginning(location, size_bytes)


def test_offline_nothing_is_asked(asking: Hub, location: Location) -> None:
    with pytest.raises(DownloadFailed, match="offline mode forbids asking the hub"):
        read_beginning(location, 10, offline=True)
    assert asking.log == []
