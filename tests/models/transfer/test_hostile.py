"""Servers that break, lie or stall: each ends in the exact file or in an error that says what happened."""

from pathlib import Path

import msgspec
import pytest

from localllm.errors import DownloadFailed, IntegrityError, LocalLLMError
from tests.marks import mostly_slow, slow
from tests.models.transfer import hostile as bad
from tests.models.transfer.server import Behaviour, Exchange, Server, good
from tests.models.transfer.transfers import OPTIONS, assert_only_part_left, get

PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
HTTP_503 = "HTTP/1.1 503 Busy\nContent-Length: 0"

FINE: dict[str, Behaviour] = {
    "good": good,
    "range ignored": bad.range_ignored,
    "range ignored, no length": bad.range_ignored_without_length,
    "range ignored from the second request on": bad.after_the_first(bad.range_ignored),
    "FIN at once": bad.once(bad.closes_at_once, 3),
    "FIN in the body": bad.once(bad.cut(100_000), 3),
    "RST in the body": bad.once(bad.cut_hard(100_000), 3),
    "FIN after the body": bad.closes_without_saying,
    "too many bytes": bad.too_long,
    "no length": bad.no_length,
    "chunked": bad.chunked,
    "negative chunk once": bad.once(bad.broken_chunks(b"-5"), 2),
    "garbage for a chunk once": bad.once(bad.broken_chunks(b"zz"), 2),
    "429 and a pause": bad.once(bad.says("HTTP/1.1 429 Slow down\nContent-Length: 0\nRetry-After: 0"), 2),
    "429 until a time past": bad.once(bad.says(f"HTTP/1.1 429 Slow down\nContent-Length: 0\nRetry-After: {PAST}")),
    "429 until nobody knows": bad.once(bad.says("HTTP/1.1 429 Slow\nContent-Length: 0\nRetry-After: soon, perhaps")),
    "500 three times": bad.once(bad.says("HTTP/1.1 500 Oops\nContent-Length: 0"), 3),
    "408 once": bad.once(bad.says("HTTP/1.1 408 Slow\nContent-Length: 0")),
    "403 once": bad.once(bad.says("HTTP/1.1 403 Expired\nContent-Length: 0")),
    "401 once": bad.once(bad.says("HTTP/1.1 401 Expired\nContent-Length: 0")),
    "100 before the answer": bad.continues,
    "garbage once": bad.once(bad.raw(b"\x00\x01garbage\r\n\r\n")),
    "two lengths once": bad.once(bad.length_said("\nContent-Length: {length}\nContent-Length: {more}")),
    "length and chunks once": bad.once(bad.length_said("\nContent-Length: {length}\nTransfer-Encoding: chunked")),
    "false length once": bad.once(bad.length_said("\nContent-Length: -1")),
    "length twice but alike": bad.length_said("\nContent-Length: {length}\nContent-Length: {length}"),
    "416 though it is there": bad.once(bad.says("HTTP/1.1 416 No\nContent-Length: 0"), 0),
}

REFUSED: dict[str, tuple[Behaviour, type[LocalLLMError], str]] = {
    "range ignored and cut": (bad.range_ignored_and_cut, DownloadFailed, "ended 1 bytes early"),
    "size shrunk": (bad.of_size(-1), IntegrityError, "bytes, expected are"),
    "size grown": (bad.of_size(1), IntegrityError, "bytes, expected are"),
    "empty": (bad.says("HTTP/1.1 200 OK\nContent-Length: 0"), IntegrityError, "has 0 bytes"),
    "empty, no length": (bad.says("HTTP/1.1 200 OK"), DownloadFailed, "bytes early"),
    "gzip": (bad.packed, DownloadFailed, "packed as 'gzip'"),
    "deflate in transfer": (
        bad.says("HTTP/1.1 200 OK\nTransfer-Encoding: deflate, chunked"),
        DownloadFailed,
        "deflate",
    ),
    "wrong bytes": (bad.wrong_bytes, IntegrityError, "do not match"),
    "web page": (bad.page, DownloadFailed, "web page"),
    "204": (bad.says("HTTP/1.1 204 Nothing"), DownloadFailed, "204"),
    "404": (bad.says("HTTP/1.1 404 Not here\nContent-Length: 0"), DownloadFailed, "404 Not here"),
    "403 for ever": (bad.says("HTTP/1.1 403 No\nContent-Length: 0"), DownloadFailed, "403, also at a fresh"),
    "503 for ever": (bad.says(HTTP_503), DownloadFailed, "503 Busy .6 attempts"),
    "503 for a week": (bad.says(f"{HTTP_503}\nRetry-After: 604800"), DownloadFailed, "come again at 20"),
    "503 for ages": (bad.says(f"{HTTP_503}\nRetry-After: 999999999"), DownloadFailed, "come again at 20"),
    "FIN for ever": (bad.closes_at_once, DownloadFailed, "RemoteDisconnected"),
    "one byte, then FIN": (bad.cut(1), DownloadFailed, "bytes early"),
    "garbage": (bad.raw(b"SSH-2.0-OpenSSH_9.2\r\n"), DownloadFailed, "BadStatusLine"),
    "no status": (bad.raw(b"HTTP/1.1 \r\n\r\n"), DownloadFailed, "attempts"),
    "huge header": (bad.says("HTTP/1.1 200 OK\nX: " + "x" * 100_000), DownloadFailed, "LineTooLong"),
    "many headers": (bad.says("HTTP/1.1 200 OK" + "\nX: x" * 200), DownloadFailed, "100 headers"),
    "redirect loop": (bad.redirect("/again"), DownloadFailed, "more than 5 times"),
    "redirect nowhere": (bad.says("HTTP/1.1 302 Go\nContent-Length: 0"), DownloadFailed, "without saying where"),
    "redirect to a file": (bad.redirect("file:///etc/passwd"), DownloadFailed, "file:, not http"),
    "redirect to FTP": (bad.redirect("ftp://127.0.0.1/x", 301), DownloadFailed, "ftp:, not http"),
    "redirect with a password": (bad.redirect("http://me:pw@127.0.0.1/"), DownloadFailed, "password"),
    "redirect by two lines": (bad.redirect("http://127.0.0.1/\n x"), DownloadFailed, "control character"),
    "redirect with a space": (bad.redirect("/a b"), DownloadFailed, "space"),
    "redirect to a bad port": (bad.redirect("http://127.0.0.1:99999/"), DownloadFailed, "cannot be read"),
    "redirect to half an IPv6": (bad.redirect("http://[::1/", 307), DownloadFailed, "cannot be read"),
}

STALLS: dict[str, Behaviour] = {
    "silence": lambda exchange: exchange.hold(),
    "silence in the body": bad.stalled(100),
    "one byte at a time": bad.dribble,
    "a header without end": bad.drip(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "headers slowly": bad.drip(b"HTTP/1.1 200 OK\r\n", b"X"),
    "100 for ever": bad.drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trailers for ever": bad.drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: x\r\n"),
}


@pytest.mark.parametrize("name", FINE)
@pytest.mark.parametrize("is_large", [False, slow(True)], ids=["small", "large"])
def test_the_exact_file_comes(name: str, is_large: bool, small: bytes, large: bytes, path: Path) -> None:
    data = large if is_large else small
    with Server(data, FINE[name]) as server:
        told: list[int] = []
        get(server.url, path, data, on_bytes=told.append)
    assert told == sorted(told)
    assert told[-1] == len(data)
    assert_only_part_left(path)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("is_large", [False, slow(True)], ids=["small", "large"])
def test_an_error_says_what_is_wrong(name: str, is_large: bool, small: bytes, large: bytes, path: Path) -> None:
    data = large if is_large else small
    behaviour, kind, words = REFUSED[name]
    with Server(data, behaviour) as server, pytest.raises(kind, match=words) as caught:
        get(server.url, path, data)
    assert "\n" not in caught.value.message
    assert_only_part_left(path)
    with Server(data) as server:  # nothing that is left stands in the way
        get(server.url, path, data)


@pytest.mark.parametrize("name", mostly_slow(STALLS, "silence in the body", "one byte at a time"))
def test_what_stalls_is_left_and_asked_anew(name: str, small: bytes, path: Path) -> None:
    options = msgspec.structs.replace(OPTIONS, stall_seconds=0.3)
    with Server(small, bad.once(STALLS[name], 1)) as server:
        get(server.url, path, small, options)
        assert len(server.log) == 2


@pytest.mark.parametrize("name", ["silence in the body", "one byte at a time", "100 for ever"])
@pytest.mark.slow
def test_what_always_stalls_is_given_up(name: str, small: bytes, path: Path) -> None:
    retry = msgspec.structs.replace(OPTIONS.retry, attempts=2)
    options = msgspec.structs.replace(OPTIONS, stall_seconds=0.2, retry=retry)
    with Server(small, STALLS[name]) as server, pytest.raises(DownloadFailed, match=r"next to nothing came for 0\.2 s"):
        get(server.url, path, small, options)
    assert_only_part_left(path)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (bad.moved_range(1), "it was asked for bytes"),
        slow(bad.moved_range(-1), "it was asked for bytes"),
        (bad.range_said(""), "not say which range"),
        slow(bad.range_said("\nContent-Range: bytes {first}-{last}"), "not say which range"),
        slow(bad.range_said("\nContent-Range: items {first}-{last}/{size}"), "not say which range"),
        (bad.range_said("\nContent-Range: bytes {last}-{first}/{size}"), "it was asked for bytes"),
        (bad.length_said("\nContent-Length: {more}"), "claims a length"),
    ],
)
def test_a_range_must_be_the_one_that_was_asked_for(behaviour: Behaviour, words: str, large: bytes, path: Path) -> None:
    with Server(large, bad.after_the_first(behaviour)) as server, pytest.raises(DownloadFailed, match=words):
        get(server.url, path, large)
    with Server(large) as server:
        get(server.url, path, large)


@pytest.mark.parametrize("total", [1, 9437185])
def test_a_range_of_another_file_is_refused_at_once(total: int, large: bytes, path: Path) -> None:
    behaviour = bad.after_the_first(bad.range_said(f"\nContent-Range: bytes {{first}}-{{last}}/{total}"))
    with Server(large, behaviour) as server, pytest.raises(IntegrityError, match=f"has {total} bytes, expected are"):
        get(server.url, path, large)


def test_bytes_of_another_place_are_found_by_the_digest(large: bytes, path: Path) -> None:
    with Server(large, bad.lied_range) as server, pytest.raises(IntegrityError, match="do not match"):
        get(server.url, path, large)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_without_end_is_cut_off(is_chunked: bool, small: bytes, path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n" if is_chunked else b"\r\n")
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n" if is_chunked else bytes(0x10000)
    with Server(small, bad.endless(head, piece)) as server, pytest.raises(IntegrityError, match="do not match"):
        get(server.url, path, small)
    assert path.read_bytes() == b""


def test_a_moved_range_may_be_a_mishap(large: bytes, path: Path) -> None:
    with Server(large, bad.once(bad.moved_range(1), 2)) as server:
        get(server.url, path, large)


def test_a_page_in_between_costs_nothing_that_has_arrived(large: bytes, path: Path) -> None:
    with Server(large, bad.after_the_first(bad.page)) as server, pytest.raises(DownloadFailed, match="web page"):
        get(server.url, path, large)
    with Server(large) as server:
        get(server.url, path, large)
        assert range(262144) not in server.ranges()


def test_416_for_what_is_there_falls_back_to_the_whole_file(large: bytes, path: Path) -> None:
    def answer(exchange: Exchange) -> object:
        if exchange.asked.range is None:
            return good(exchange)
        exchange.send(f"HTTP/1.1 416 No\nContent-Length: 0\nContent-Range: bytes */{len(exchange.data)}")
        return False

    with Server(large, answer) as server:
        get(server.url, path, large)
        assert server.ranges() == [range(262144), None]


def test_416_of_a_smaller_file_is_another_file(large: bytes, path: Path) -> None:
    answer = bad.says("HTTP/1.1 416 No\nContent-Length: 0\nContent-Range: bytes */5")
    with Server(large, answer) as server, pytest.raises(IntegrityError, match="has 5 bytes"):
        get(server.url, path, large)


def test_a_range_though_all_was_asked_for(small: bytes, path: Path) -> None:
    answer = bad.range_said("\nContent-Range: bytes 0-199999/200000")
    with Server(small, answer) as server, pytest.raises(DownloadFailed, match="answers 206"):
        get(server.url, path, small)


def test_nobody_there(small: bytes, path: Path) -> None:
    with Server() as server:
        url = server.url
    with pytest.raises(
        DownloadFailed, match=r"127\.0\.0\.1 cannot deliver the file: ConnectionRefusedError.*pull again"
    ):
        get(url, path, small)
