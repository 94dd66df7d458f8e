"""Pulls by processes of their own, with the settings that users have around them."""

import os
import signal
from pathlib import Path

import pytest

from localllm.models.storage.store import Store
from tests.models.cards import HUB, card_text, front_matter
from tests.models.child import clean_environment, puller
from tests.models.hub import CHUNK_BYTES, Hub
from tests.models.leftovers import assert_nothing_published
from tests.models.pulls import is_right

HALF = 8 * CHUNK_BYTES


@pytest.fixture
def card(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "tiny.md"
    path.write_text(card_text(front_matter(data, sources=[HUB])))
    return path


def test_a_token_in_the_environment_is_not_sent_to_the_host_of_the_bytes(
    hub: Hub, card: Path, store: Store, data: bytes, tmp_path: Path
) -> None:
    environment = clean_environment(tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="our-secret")
    with puller(card, store.root.parent, environment) as child:
        assert child.finish()[0] == 0
    sent = [(asked.method, asked.host, asked.token) for asked in hub.log]
    assert sent == [("HEAD", "127.0.0.1", "Bearer our-secret"), ("GET", "localhost", None)]
    manifest = store.find("tiny:1m")
    assert manifest is not None
    assert is_right(store, manifest, data)


def test_an_offline_hub_is_not_asked(hub: Hub, card: Path, store: Store, tmp_path: Path) -> None:
    environment = clean_environment(tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    with puller(card, store.root.parent, environment) as child:
        code, lines = child.finish()
    assert code == 1
    assert lines[-1].startswith("failed download_failed: ")
    assert "offline mode forbids asking the hub" in lines[-1]
    assert_nothing_published(store)
    assert hub.log == []


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.slow
def test_control_c_keeps_what_has_arrived(hub: Hub, card: Path, store: Store, data: bytes, tmp_path: Path) -> None:
    environment = clean_environment(tmp_path, HF_ENDPOINT=hub.url)
    hub.faults.hold_after = HALF
    with puller(card, store.root.parent, environment) as child:
        child.until_bytes(HALF)
        child.process.send_signal(signal.SIGINT)
        child.process.wait()
    assert_nothing_published(store)
    hub.faults.hold_after = None
    hub.log.clear()
    with puller(card, store.root.parent, environment) as child:
        code, lines = child.finish()
    assert code == 0, lines
    assert [asked.range for asked in hub.gets()] == [f"bytes={HALF}-{len(data) - 1}"]
