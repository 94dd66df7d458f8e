"""Downloads from a hub that works, one that breaks off, and ones that lie."""

from pathlib import Path

import pytest

from localllm.models import fetch_hub
from localllm.models.store import Store
from tests.models.cards import HUB, KEY, REPOSITORY, part_of
from tests.models.hub import CHUNK_BYTES, Hub
from tests.models.pulls import get, refused

pytestmark = pytest.mark.usefixtures("here")


def leave(store: Store, data: bytes, part: bytes) -> Path:
    """Pretend that an earlier attempt got this far."""
    path = part_of(store, data)
    path.write_bytes(part)
    return path


def ranges(hub: Hub) -> list[str | None]:
    return [asked.range for asked in hub.gets()]


@pytest.mark.parametrize("is_in_lfs", [True, False])
def test_a_fresh_download(hub: Hub, store: Store, data: bytes, is_in_lfs: bool) -> None:
    hub.faults.is_in_lfs = is_in_lfs
    manifest = get(store, data, HUB)
    assert store.blob_path(manifest.file.digest).read_bytes() == data
    assert manifest.source == f"Hugging Face repository {REPOSITORY}"
    assert [asked.method for asked in hub.log] == ["HEAD", "GET"]
    assert ranges(hub) == [None]


def test_the_rest_alone_is_asked_for(hub: Hub, store: Store, data: bytes) -> None:
    leave(store, data, data[:100_000])
    manifest = get(store, data, HUB)
    assert store.verify(manifest.file)
    assert ranges(hub) == ["bytes=100000-"]


def test_cut_connections_go_on_where_they_broke(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.cuts = [3 * CHUNK_BYTES, 2 * CHUNK_BYTES]
    assert store.verify(get(store, data, HUB).file)
    assert ranges(hub) == [None, f"bytes={3 * CHUNK_BYTES}-", f"bytes={5 * CHUNK_BYTES}-"]


def test_an_answer_of_unknown_length_that_breaks_off_goes_on(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.has_length = False
    hub.faults.cuts = [CHUNK_BYTES]
    assert store.verify(get(store, data, HUB).file)
    assert ranges(hub) == [None, f"bytes={CHUNK_BYTES}-"]


def test_a_connection_that_brings_nothing_more_is_given_up(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.cuts = [CHUNK_BYTES, 0]
    assert "the hub cannot deliver tiny.Q4_0.gguf: RemoteProtocolError" in refused(store, data, HUB)
    assert len(ranges(hub)) == 2
    assert part_of(store, data).read_bytes() == data[:CHUNK_BYTES]  # for next time


def test_a_stalled_connection_is_left_and_asked_anew(
    hub: Hub, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_hub, "STALL_SECONDS", 0.2)
    hub.faults.hold_after = len(data) - CHUNK_BYTES
    assert store.verify(get(store, data, HUB).file)
    assert ranges(hub) == [None, f"bytes={len(data) - CHUNK_BYTES}-"]


def test_a_server_that_ignores_ranges_is_taken_from_the_start(hub: Hub, store: Store, data: bytes) -> None:
    leave(store, data, data[:100_000])
    hub.faults.ignores_range = True
    assert store.verify(get(store, data, HUB).file)
    assert ranges(hub) == ["bytes=100000-"]


def test_a_server_that_ignores_ranges_and_always_breaks_off_is_given_up(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.ignores_range = True
    hub.faults.cuts = [CHUNK_BYTES] * 10
    refused(store, data, HUB)
    assert len(ranges(hub)) == 2


def test_another_range_than_asked_for_is_not_joined(hub: Hub, store: Store, data: bytes) -> None:
    leave(store, data, data[:100_000])
    hub.faults.range_offset = 10
    assert store.verify(get(store, data, HUB).file)
    assert ranges(hub) == ["bytes=100000-", None]


def test_a_range_that_the_server_does_not_have_starts_over(hub: Hub, store: Store, data: bytes) -> None:
    leave(store, data, data[:-1])
    hub.faults.range_offset = 1  # 416
    assert store.verify(get(store, data, HUB).file)
    assert ranges(hub) == [f"bytes={len(data) - 1}-", None]


def test_wrong_bytes_of_an_earlier_attempt_cost_one_more_download(hub: Hub, store: Store, data: bytes) -> None:
    leave(store, data, b"x" * 100_000)
    assert store.verify(get(store, data, HUB).file)
    assert ranges(hub) == ["bytes=100000-", None]


def test_a_complete_part_is_published_without_asking(hub: Hub, store: Store, data: bytes) -> None:
    leave(store, data, data)
    assert store.verify(get(store, data, HUB).file)
    assert hub.log == []


def test_a_wrong_digest_is_refused_before_anything_is_downloaded(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.sha256 = "a" * 64
    assert f"the hub's file has SHA-256 {'a' * 64}, the model card says" in refused(store, data, HUB)
    assert hub.gets() == []


def test_a_wrong_size_is_refused_before_anything_is_downloaded(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.size = len(data) + 1
    assert f"has {len(data) + 1} bytes, the model card says {len(data)}" in refused(store, data, HUB)
    assert hub.gets() == []


def test_a_wrong_body_is_refused_once_and_dropped(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.body = b"x" * len(data)
    assert "the bytes do not match" in refused(store, data, HUB)
    assert ranges(hub) == [None]
    assert part_of(store, data).read_bytes() == b""


def test_a_wrong_body_after_a_leftover_is_asked_for_twice_and_no_more(hub: Hub, store: Store, data: bytes) -> None:
    leave(store, data, b"x" * 100_000)
    hub.faults.body = b"y" * len(data)
    assert "the bytes do not match" in refused(store, data, HUB)
    assert ranges(hub) == ["bytes=100000-", None]


@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_too_long_is_refused_as_soon_as_it_is(hub: Hub, store: Store, data: bytes, has_length: bool) -> None:
    hub.faults.body = data * 4
    hub.faults.has_length = has_length
    assert f"more than the {len(data)} bytes" in refused(store, data, HUB)


def test_a_body_too_short_is_not_taken_for_the_whole(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.body = data[:-1]
    refused(store, data, HUB)
    assert ranges(hub) == [None, f"bytes={len(data) - 1}-"]


def test_a_login_page_is_no_hub(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.is_login_page = True
    assert "is no Hugging Face hub; check the connection" in refused(store, data, HUB)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "RepoNotFound", f"there is no {REPOSITORY}, or it is private: set HF_TOKEN"),
        (404, "RepoNotFound", f"there is no {REPOSITORY}, or it is private: set HF_TOKEN"),
        (404, "x", f"there is no {REPOSITORY}, or it is private: set HF_TOKEN"),
        (401, "GatedRepo", f"{REPOSITORY} is gated: accept its terms on its page, then set HF_TOKEN"),
        (403, "GatedRepo", f"{REPOSITORY} is gated: accept its terms on its page, then set HF_TOKEN"),
        (404, "EntryNotFound", f"{REPOSITORY} has no file tiny.Q4_0.gguf at revision 0"),
        (404, "RevisionNotFound", f"{REPOSITORY} has no file tiny.Q4_0.gguf at revision 0"),
        (403, "x", "the hub refuses the token it was sent (403); check HF_TOKEN"),
        (429, "x", "the hub answers 429 Too Many Requests"),
        (503, "x", "the hub answers 503 Service Unavailable"),
    ],
)
def test_a_refusal_says_what_to_do(hub: Hub, store: Store, data: bytes, status: int, code: str, words: str) -> None:
    hub.faults.head_status, hub.faults.error_code = status, code
    message = refused(store, data, HUB)
    assert words in message
    assert "our-secret" not in message
    assert hub.gets() == []


def test_a_refusal_without_a_token_does_not_speak_of_one_that_was_sent(
    hub: Hub, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nonexistent/token")
    hub.faults.head_status, hub.faults.error_code = 403, "x"
    assert "the hub answers 403 Forbidden; if it wants a token, set HF_TOKEN" in refused(store, data, HUB)
    assert [asked.token for asked in hub.log] == [None]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_of_the_bytes_keeps_what_is_there(hub: Hub, store: Store, data: bytes, status: int) -> None:
    path = leave(store, data, data[:1000])
    hub.faults.get_status = status
    assert f"it answers {status}" in refused(store, data, HUB)
    assert path.read_bytes() == data[:1000]


@pytest.mark.parametrize("is_in_lfs", [True, False])
def test_the_token_goes_to_the_hub_alone(hub: Hub, store: Store, data: bytes, is_in_lfs: bool) -> None:
    hub.faults.is_in_lfs = is_in_lfs
    hub.faults.redirects_get = True
    get(store, data, HUB)
    sent = {(asked.host, asked.token) for asked in hub.log}
    assert sent == {("127.0.0.1", "Bearer our-secret"), ("localhost", None)}


def test_without_redirects_the_token_comes_along(hub: Hub, store: Store, data: bytes) -> None:
    hub.faults.is_in_lfs = False
    get(store, data, HUB)
    assert [(asked.method, asked.token) for asked in hub.log] == [
        ("HEAD", "Bearer our-secret"),
        ("GET", "Bearer our-secret"),
    ]


def test_a_file_that_the_hub_does_not_have(hub: Hub, store: Store, data: bytes) -> None:
    del hub.files[KEY]
    assert "has no file tiny.Q4_0.gguf" in refused(store, data, HUB)


def test_a_token_that_no_header_can_carry_is_no_crash(
    hub: Hub, store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "tökén")
    message = refused(store, data, HUB)
    assert "cannot ask the hub" in message
    assert "HF_TOKEN" in message
    assert hub.log == []
