"""Redirects: the token stays with its own scheme, host and port, and nothing leads to less than we had."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from localllm.errors import DownloadFailed
from localllm.models.transfer.address import Location, follow, headers_for, parse_address
from localllm.models.transfer.fetch import fetch
from tests.models.transfer import hostile as bad
from tests.models.transfer.server import Behaviour, Exchange, Server, good
from tests.models.transfer.transfers import OPTIONS, get, part_of

TOKEN = {"Authorization": "Bearer our-secret", "Cookie": "our-secret", "X-Key": "our-secret", "User-Agent": "us/1"}
SHAPES = [
    "http://127.0.0.1:{port}/file",
    "HTTP://127.0.0.1:{port}/file",
    "//127.0.0.1:{port}/file",
    "http://localhost:{port}/file",
    "http://LOCALHOST:{port}/file",
    "http://localhost.:{port}/file",
    "http://127.0.0.1:{port}",
    "http://127.1:{port}/file?signature=a%20b",
    "http://127.0.0.1:{port}/file#part",
    "http://127.0.0.1:{port}/\xc3\xb6",
    "http://127.0.0.1:{port}/..//file",
]


def seen(headers: Mapping[str, str]) -> bool:
    return "our-secret" in str(headers)


@pytest.mark.parametrize("shape", SHAPES)
def test_another_host_sees_no_token(shape: str, small: bytes, path: Path) -> None:
    with Server(small) as foreign, Server(small, bad.redirect(shape.format(port=foreign.port))) as home:
        get(home.url, path, small, headers=TOKEN)
        assert seen(home.log[0].headers)
        assert [asked.headers["user-agent"] for asked in foreign.log] == ["us/1"]
        assert not any(seen(asked.headers) for asked in foreign.log)


@pytest.mark.parametrize("name", ["authorization", "AUTHORIZATION", "Authorization "])
def test_nor_by_another_spelling(name: str) -> None:
    assert headers_for({name: "our-secret"}, is_first_origin=False).keys() == {"User-Agent", "Accept-Encoding"}


def test_the_same_host_sees_it_again(small: bytes, path: Path) -> None:
    def answer(exchange: Exchange) -> bool:
        return good(exchange) if exchange.asked.path == "/there" else bool(bad.redirect("/there")(exchange))

    with Server(small, answer) as home:
        get(home.url, path, small, headers=TOKEN)
        assert [seen(asked.headers) for asked in home.log] == [True, True]


def test_a_way_back_gives_it_to_nobody(small: bytes, path: Path) -> None:
    def lead(exchange: Exchange) -> bool:
        if exchange.asked.path == "/back":
            return good(exchange)
        return bool(bad.redirect(f"http://127.0.0.1:{foreign.port}/")(exchange))

    with Server(small, lead) as home, Server(small, bad.redirect(f"http://127.0.0.1:{home.port}/back")) as foreign:
        get(home.url, path, small, headers=TOKEN)
        assert [seen(asked.headers) for asked in home.log] == [True, False]


def test_where_redirects_led_is_remembered(large: bytes, path: Path) -> None:
    with Server(large) as foreign, Server(large, bad.redirect(f"http://localhost:{foreign.port}/file")) as home:
        get(home.url, path, large)
        assert len(home.log) <= OPTIONS.connections
        assert len(foreign.log) == 36


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_five_redirects_are_followed(status: int, small: bytes, path: Path) -> None:
    def answer(exchange: Exchange) -> bool:
        number = exchange.asked.number
        return good(exchange) if number == 5 else bool(bad.redirect(f"/{number}", status)(exchange))

    with Server(small, answer) as server:
        get(server.url, path, small)


@pytest.mark.parametrize(
    ("first", "to", "words"),
    [
        ("https://hub.example/a", "http://hub.example/a", "unencrypted"),
        ("https://hub.example/a", "HTTP://cdn.example/a", "unencrypted"),
        ("https://hub.example/a", "file:///etc/passwd", "file:"),
        ("https://hub.example/a", "data:text/plain,x", "data:"),
        ("https://hub.example/a", "javascript:x", "javascript:"),
        ("https://hub.example/a", "https://user@cdn.example/a", "password"),
        ("https://hub.example/a", "https://", "host"),
        ("https://hub.example/a", "https://cdn.example/a\nX-Evil: 1", "control character"),
        ("https://hub.example/a", "https://cdn.example:0x50/a", "cannot be read"),
        ("https://hub.example/a", "", "without saying"),
        ("https://hub.example/a", None, "without saying"),
    ],
)
def test_where_a_redirect_may_not_lead(first: str, to: str | None, words: str) -> None:
    if to == "https://":
        with pytest.raises(DownloadFailed, match=words):
            parse_address(to)
        return
    with pytest.raises(DownloadFailed, match=words):
        follow(parse_address(first), to)


@pytest.mark.parametrize(
    ("first", "to", "url"),
    [
        ("http://hub.example/a", "https://hub.example/b", "https://hub.example/b"),
        ("https://hub.example/a/b", "c?d=e%2Ff", "https://hub.example/a/c?d=e%2Ff"),
        ("https://hub.example/a", "//cdn.example/\xc3\xb6", "https://cdn.example/%C3%B6"),
        ("https://hub.example/a", "//[::1]:8080/x", "https://[::1]:8080/x"),
    ],
)
def test_where_it_may(first: str, to: str, url: str) -> None:
    assert follow(parse_address(first), to).url == url


@pytest.mark.parametrize("url", ["", "hub.example", "ftp://hub.example/x", "https://hub.example/a b", "http://a:b:c/"])
def test_a_location_is_checked_too(url: str, small: bytes, path: Path) -> None:
    with pytest.raises(DownloadFailed):
        get(url, path, small)


def test_a_token_that_cannot_be_sent(small: bytes, path: Path) -> None:
    with Server(small) as server, pytest.raises(DownloadFailed, match="HF_TOKEN"):
        get(server.url, path, small, headers={"Authorization": "Bearer a\r\nX-Evil: 1"})
    assert server.log == []


def expiring(requests: int) -> Behaviour:
    """Each signature is good for so many requests."""
    counts: dict[str, int] = {}

    def answer(exchange: Exchange) -> bool:
        path = exchange.asked.path
        counts[path] = counts.get(path, 0) + 1
        return good(exchange) if counts[path] <= requests else bool(bad.says("HTTP/1.1 403 Expired")(exchange))

    return answer


def test_signatures_that_expire_are_asked_for_again(large: bytes, path: Path) -> None:
    found = 0

    def locate() -> Location:
        nonlocal found
        found += 1
        return Location(url=f"{server.url}?signature={found}")

    with Server(large, expiring(10)) as server, part_of(path, large) as part:
        fetch(locate, part, OPTIONS, lambda _: None)
    assert path.read_bytes() == large
    assert found >= 4


def test_a_refusal_for_ever_asks_once_more_only(small: bytes, path: Path) -> None:
    found = []

    def locate() -> Location:
        found.append(1)
        return Location(url=server.url)

    answer = bad.says("HTTP/1.1 401 No\nContent-Length: 0")
    with (
        Server(small, answer) as server,
        part_of(path, small) as part,
        pytest.raises(DownloadFailed, match="401, also at a fresh address; check HF_TOKEN"),
    ):
        fetch(locate, part, OPTIONS, lambda _: None)
    assert len(found) == 2


def test_an_error_of_the_one_who_locates_is_passed_on(small: bytes, path: Path) -> None:
    def locate() -> Location:
        raise DownloadFailed("no such file")

    with part_of(path, small) as part, pytest.raises(DownloadFailed, match="no such file"):
        fetch(locate, part, OPTIONS, lambda _: None)
