"""Processes of their own that ask the hub: offline, and with broken settings around them."""

from pathlib import Path

import pytest

from tests.marks import slow
from tests.models.child import Child, clean_environment
from tests.models.hub import Hub
from tests.models.hub_room.holdings import FILES, REPOSITORY


def lines_of(tmp_path: Path, *arguments: str, **settings: str) -> list[str]:
    environment = clean_environment(tmp_path, **settings)
    with Child(
        "-m", "tests.models.hub_room.asker", f"{settings['HF_ENDPOINT']}/nothing", *arguments, environment=environment
    ) as child:
        code, lines = child.finish()
    assert code == 0, lines
    return lines


def test_a_fresh_process_is_answered(hub: Hub, tmp_path: Path) -> None:
    commit = hub.commit(REPOSITORY, FILES)
    lines = lines_of(tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="our-secret")
    assert lines[0] == f"repository ok {commit}"
    assert lines[1] == f"locate download_failed {REPOSITORY} has no file tiny.Q4_0.gguf at revision {'0' * 40}"
    assert lines[2] == "peek download_failed the hub answers 404 for the beginning of the file; pull again later"
    assert lines[3] != "sockets 0"
    assert [asked.token for asked in hub.log] == ["Bearer our-secret", "Bearer our-secret", None]


@pytest.mark.parametrize(("arguments", "settings"), [(["--offline"], {}), slow([], {"HF_HUB_OFFLINE": "1"})])
def test_offline_no_socket_is_opened(hub: Hub, tmp_path: Path, arguments: list[str], settings: dict[str, str]) -> None:
    lines = lines_of(tmp_path, *arguments, HF_ENDPOINT=hub.url, HF_TOKEN="our-secret", **settings)
    for line, name in zip(lines, ("repository", "locate", "peek"), strict=False):
        assert line.startswith(f"{name} download_failed offline mode forbids asking the hub; ")
    assert lines[3] == "sockets 0"
    assert hub.log == []


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", "cannot ask the hub"),
        ("SSL_CERT_FILE", "/nonexistent/certificates.pem", "cannot ask the hub"),
        ("HF_ENDPOINT", "http://[", "cannot ask the hub"),
        ("HF_TOKEN", "tökén", "cannot ask the hub"),
    ],
)
@pytest.mark.slow
def test_settings_that_keep_us_from_the_hub_are_named(
    hub: Hub, tmp_path: Path, setting: str, value: str, words: str
) -> None:
    hub.commit(REPOSITORY, FILES)
    lines = lines_of(tmp_path, **{"HF_ENDPOINT": hub.url, setting: value})
    for line, name in zip(lines, ("repository", "locate"), strict=False):
        assert line.startswith(f"{name} download_failed {words}")
    assert [asked for asked in hub.log if asked.path != "/nothing"] == []
