"""Servers that break, lie or stall: a behaviour each. What a fetch must make of it stands in test_hostile.py."""

import gzip
import time
from contextlib import suppress

from tests.models.transfer.server import Behaviour, Exchange, good

KEEP = True


def once(bad: Behaviour, times: int = 1) -> Behaviour:
    """Bad for the first requests, good afterwards."""
    return lambda exchange: bad(exchange) if exchange.asked.number < times else good(exchange)


def after_the_first(bad: Behaviour) -> Behaviour:
    """Good for the first request only."""
    return lambda exchange: good(exchange) if exchange.asked.number == 0 else bad(exchange)


def says(head: str, body: bytes = b"") -> Behaviour:
    """The same answer, whatever is asked."""
    return lambda exchange: exchange.send(head, body)


def raw(data: bytes) -> Behaviour:
    """The same bytes, whatever is asked."""
    return lambda exchange: exchange.connection.sendall(data)


def cut(count: int) -> Behaviour:
    """FIN after so many bytes of the body."""
    return lambda exchange: exchange.good(cut=count)


def cut_hard(count: int) -> Behaviour:
    """RST after so many bytes of the body."""

    def answer(exchange: Exchange) -> None:
        exchange.good(cut=count)
        time.sleep(0.02)  # an RST drops what has not been read yet
        exchange.reset()

    return answer


def stalled(count: int) -> Behaviour:
    """Nothing more after so many bytes of the body."""

    def answer(exchange: Exchange) -> None:
        exchange.good(cut=count)
        exchange.hold()

    return answer


def drip(head: bytes, piece: bytes) -> Behaviour:
    """The head, then the same piece again and again, slowly, until the other side goes."""

    def answer(exchange: Exchange) -> None:
        exchange.connection.sendall(head)
        with suppress(OSError):
            while True:
                exchange.connection.sendall(piece)
                time.sleep(0.005)

    return answer


def endless(head: bytes, piece: bytes) -> Behaviour:
    """The head, then the same piece again and again, until the other side goes."""

    def answer(exchange: Exchange) -> None:
        exchange.connection.sendall(head)
        with suppress(OSError):
            while True:
                exchange.connection.sendall(piece)

    return answer


def dribble(exchange: Exchange) -> None:
    """The right bytes, one by one."""
    exchange.good(cut=0)
    with suppress(OSError):
        for byte in exchange.data:
            exchange.connection.sendall(bytes([byte]))
            time.sleep(0.01)


def range_ignored(exchange: Exchange) -> bool:
    """200 and the whole file, always."""
    exchange.send(f"HTTP/1.1 200 OK\nContent-Length: {len(exchange.data)}", exchange.data)
    return KEEP


def range_ignored_without_length(exchange: Exchange) -> None:
    """200 and the whole file until the end of the connection."""
    exchange.send("HTTP/1.1 200 OK", exchange.data)


def range_ignored_and_cut(exchange: Exchange) -> None:
    """200 and never the whole file."""
    exchange.send(f"HTTP/1.1 200 OK\nContent-Length: {len(exchange.data)}", exchange.data[:-1])


def moved_range(offset: int) -> Behaviour:
    """206 for bytes that were not asked for, said openly."""

    def answer(exchange: Exchange) -> None:
        asked, size = exchange.asked.range or range(len(exchange.data)), len(exchange.data)
        body = exchange.data[asked.start + offset : asked.stop + offset]
        where = f"{asked.start + offset}-{asked.stop + offset - 1}"
        exchange.send(f"HTTP/1.1 206 Partial\nContent-Length: {len(body)}\nContent-Range: bytes {where}/{size}", body)

    return answer


def range_said(text: str) -> Behaviour:
    """206 with such a Content-Range, or without one."""

    def answer(exchange: Exchange) -> None:
        asked = exchange.asked.range or range(len(exchange.data))
        header = text.format(first=asked.start, last=asked.stop - 1, size=len(exchange.data))
        body = exchange.data[asked.start : asked.stop]
        exchange.send(f"HTTP/1.1 206 Partial\nContent-Length: {len(body)}{header}", body)

    return answer


def lied_range(exchange: Exchange) -> bool:
    """206 that claims the asked range and sends bytes of another place."""
    asked, size = exchange.asked.range or range(len(exchange.data)), len(exchange.data)
    body = exchange.data[: len(asked)]
    where = f"{asked.start}-{asked.stop - 1}"
    exchange.send(f"HTTP/1.1 206 Partial\nContent-Length: {len(body)}\nContent-Range: bytes {where}/{size}", body)
    return KEEP


def length_said(text: str) -> Behaviour:
    """The right bytes with such Content-Length headers."""

    def answer(exchange: Exchange) -> None:
        asked, size = exchange.asked.range, len(exchange.data)
        status = f"206 Partial\nContent-Range: bytes {asked.start}-{asked.stop - 1}/{size}" if asked else "200 OK"
        body = exchange.data[asked.start : asked.stop] if asked else exchange.data
        exchange.send(f"HTTP/1.1 {status}{text.format(length=len(body), more=len(body) + 7)}", body)

    return answer


def too_long(exchange: Exchange) -> None:
    """The right bytes and more, without a length."""
    asked, size = exchange.asked.range, len(exchange.data)
    status = f"206 Partial\nContent-Range: bytes {asked.start}-{asked.stop - 1}/{size}" if asked else "200 OK"
    body = exchange.data[asked.start : asked.stop] if asked else exchange.data
    exchange.send(f"HTTP/1.1 {status}", body + b"x" * 300_000)


def chunked(exchange: Exchange) -> bool:
    """The right bytes in chunks of odd sizes."""
    asked, size = exchange.asked.range, len(exchange.data)
    status = f"206 Partial\nContent-Range: bytes {asked.start}-{asked.stop - 1}/{size}" if asked else "200 OK"
    exchange.send(f"HTTP/1.1 {status}\nTransfer-Encoding: chunked")
    body = exchange.data[asked.start : asked.stop] if asked else exchange.data
    for start in range(0, len(body), 70_001):
        piece = body[start : start + 70_001]
        exchange.connection.sendall(f"{len(piece):x};note=1\r\n".encode() + piece + b"\r\n")
    exchange.connection.sendall(b"0\r\n\r\n")
    return KEEP


def broken_chunks(size: bytes) -> Behaviour:
    """A chunk of such a size."""

    def answer(exchange: Exchange) -> None:
        exchange.send("HTTP/1.1 200 OK\nTransfer-Encoding: chunked")
        exchange.connection.sendall(size + b"\r\n" + exchange.data)

    return answer


def no_length(exchange: Exchange) -> None:
    """The right bytes until the end of the connection."""
    length_said("")(exchange)


def packed(exchange: Exchange) -> None:
    """The whole file by gzip."""
    body = gzip.compress(exchange.data, 1)
    exchange.send(f"HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: {len(body)}", body)


def wrong_bytes(exchange: Exchange) -> bool:
    """As many bytes as should be, but others."""
    exchange.data = bytes(len(exchange.data))
    return good(exchange)


def of_size(change: int) -> Behaviour:
    """A file that has grown or shrunk."""

    def answer(exchange: Exchange) -> bool:
        exchange.data = exchange.data + b"x" * change if change > 0 else exchange.data[:change]
        return good(exchange)

    return answer


def page(exchange: Exchange) -> None:
    """A login page."""
    body = b"<html>Please log in</html>"
    exchange.send(f"HTTP/1.1 200 OK\nContent-Type: text/html; charset=utf-8\nContent-Length: {len(body)}", body)


def continues(exchange: Exchange) -> bool:
    """Several interim answers, one with a header, before the real one."""
    exchange.send("HTTP/1.1 100 Continue")
    exchange.send("HTTP/1.1 100 Continue\nX-Note: again")
    return good(exchange)


def closes_at_once(exchange: Exchange) -> None:
    """FIN instead of an answer."""


def closes_without_saying(exchange: Exchange) -> None:
    """A good answer, and the connection ends though nobody said so."""
    exchange.good()


def redirect(to: str, status: int = 302) -> Behaviour:
    """Leads elsewhere."""
    return says(f"HTTP/1.1 {status} Elsewhere\nContent-Length: 0\nLocation: {to}")
