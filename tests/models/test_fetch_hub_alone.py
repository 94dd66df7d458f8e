"""Downloads by processes of their own: killed in the middle, offline, and with broken settings around them."""

from pathlib import Path

import pytest

from localllm.models.store import Store
from tests.models.cards import HUB, card_text, front_matter, make_card, part_of
from tests.models.child import clean_environment, puller
from tests.models.hub import CHUNK_BYTES, Hub
from tests.models.leftovers import assert_nothing_published

HALF = 8 * CHUNK_BYTES


@pytest.fixture
def card(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "tiny.md"
    path.write_text(card_text(front_matter(data, sources=[HUB])))
    return path


@pytest.fixture
def home(store: Store) -> Path:
    return store.root.parent


def test_a_killed_download_goes_on_where_it_stopped(
    hub: Hub, card: Path, home: Path, store: Store, data: bytes, tmp_path: Path
) -> None:
    environment = clean_environment(tmp_path, HF_ENDPOINT=hub.url)
    hub.faults.hold_after = HALF
    with puller(card, home, environment) as child:
        child.until_bytes(HALF)
        child.kill()
    assert_nothing_published(store)
    left = part_of(store, data).stat().st_size
    assert 0 < left <= HALF
    assert part_of(store, data).read_bytes() == data[:left]

    hub.faults.hold_after = None
    with puller(card, home, environment) as child:
        code, lines = child.finish()
    assert code == 0, lines
    assert [asked.range for asked in hub.gets()] == [None, f"bytes={left}-"]
    assert store.verify(make_card(data).artifact)


def test_a_token_in_the_environment_is_not_sent_to_the_host_of_the_bytes(
    hub: Hub, card: Path, home: Path, tmp_path: Path
) -> None:
    with puller(card, home, clean_environment(tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="our-secret")) as child:
        assert child.finish()[0] == 0
    sent = [(asked.method, asked.host, asked.token) for asked in hub.log]
    assert sent == [("HEAD", "127.0.0.1", "Bearer our-secret"), ("GET", "localhost", None)]


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("HF_HUB_OFFLINE", "1", "offline mode is enabled"),
        ("ALL_PROXY", "socks5://127.0.0.1:9", "cannot ask the hub"),
        ("SSL_CERT_FILE", "/nonexistent/certificates.pem", "cannot ask the hub"),
        ("HF_ENDPOINT", "http://[", "cannot ask the hub"),
    ],
)
@pytest.mark.slow
def test_settings_that_keep_us_from_the_hub_are_named(
    hub: Hub, card: Path, home: Path, store: Store, tmp_path: Path, setting: str, value: str, words: str
) -> None:
    environment = clean_environment(tmp_path, **{"HF_ENDPOINT": hub.url, setting: value})
    with puller(card, home, environment) as child:
        code, lines = child.finish()
    assert code == 1, lines
    assert lines[-1].startswith("failed download_failed: ")
    assert words in lines[-1]
    assert_nothing_published(store)
    assert hub.log == []
