"""The hub of the tests itself: what other tests count on."""

import httpx2
import pytest

from tests.models.hub import Hub
from tests.models.hub_contents import git_sha1, sha256
from tests.models.hub_room.holdings import FILES, GGUF, REPOSITORY

ETAG = f'"{sha256(GGUF)}"'
SIZE = len(GGUF)


@pytest.fixture
def url(hub: Hub) -> str:
    """Where the bytes of a file in LFS are."""
    hub.commit(REPOSITORY, FILES)
    return f"http://localhost:{hub.port}/cdn/{sha256(GGUF)}"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=100-", 100, SIZE),
        (f"bytes=100-{SIZE * 2}", 100, SIZE),
        ("bytes=-5", SIZE - 5, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
    ],
)
@pytest.mark.parametrize("condition", [None, ETAG])
def test_a_range(url: str, asked: str, start: int, end: int, condition: str | None) -> None:
    headers = {"range": asked} | ({"if-range": condition} if condition else {})
    response = httpx2.get(url, headers=headers)
    assert response.status_code == 206
    assert response.content == GGUF[start:end]
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["content-length"] == str(end - start)
    assert response.headers["etag"] == ETAG


@pytest.mark.parametrize(
    ("asked", "condition"),
    [
        ("bytes=0-9", '"another"'),
        ("bytes=0-9", f"W/{ETAG}"),
        ("bytes=0-9", ETAG.strip('"')),
        ("bytes=0-1,4-5", None),
        ("bytes=9-0", None),
        ("bytes=-", None),
        ("lines=0-9", None),
    ],
)
def test_a_range_that_does_not_hold_brings_everything(url: str, asked: str, condition: str | None) -> None:
    response = httpx2.get(url, headers={"range": asked} | ({"if-range": condition} if condition else {}))
    assert (response.status_code, response.content) == (200, GGUF)


def test_a_range_behind_the_end(url: str) -> None:
    response = httpx2.get(url, headers={"range": f"bytes={SIZE}-"})
    assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{SIZE}")


def test_a_weak_etag_never_joins(hub: Hub, url: str) -> None:
    hub.faults.etag = 'W/"weak"'
    assert httpx2.get(url, headers={"range": "bytes=0-9", "if-range": 'W/"weak"'}).status_code == 200


def test_a_large_file_comes_in_many_ranges_at_once(hub: Hub) -> None:
    data = bytes(range(256)) * 40_000
    hub.commit(REPOSITORY, {"big.gguf": data})
    url = f"http://localhost:{hub.port}/cdn/{sha256(data)}"
    step = 1 << 20
    with httpx2.Client() as client:
        parts = [
            client.get(url, headers={"range": f"bytes={start}-{start + step - 1}"}).content
            for start in range(0, len(data), step)
        ]
    assert b"".join(parts) == data


def test_small_files_carry_the_digest_of_their_git_blob(hub: Hub) -> None:
    commit = hub.commit(REPOSITORY, FILES)
    response = httpx2.get(f"{hub.url}/{REPOSITORY}/resolve/{commit}/config.json")
    assert response.headers["etag"] == f'"{git_sha1(b"{}")}"'
    assert response.headers["x-repo-commit"] == commit
