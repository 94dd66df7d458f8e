"""An HTTP server on loopback that says whatever a test wants, byte for byte; it keeps what it was asked."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Self

PIECE_BYTES = 64 * 1024
HOLD_SECONDS = 60.0  # after which a held answer is given up, lest a failing test hangs


@dataclass(frozen=True)
class Asked:
    """One request. Header names are in lower case."""

    number: int  # from 0
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> range | None:
        """The bytes asked for; None: all."""
        text = self.headers.get("range")
        if text is None:
            return None
        first, _, last = text.removeprefix("bytes=").partition("-")
        return range(int(first), int(last) + 1)


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, server: "Server", connection: socket.socket, asked: Asked) -> None:
        self.data = server.data
        self.asked = asked
        self.connection = connection
        self.server = server

    def send(self, text: str, body: bytes = b"") -> None:
        """The head, whose lines end by \\n here, and a body."""
        head = text.strip("\n").replace("\r\n", "\n").replace("\n", "\r\n") + "\r\n\r\n"
        self.connection.sendall(head.encode("latin-1"))
        for start in range(0, len(body), PIECE_BYTES):
            self.connection.sendall(body[start : start + PIECE_BYTES])

    def good(self, *, cut: int | None = None, extra: str = "") -> None:
        """What a good server sends, up to `cut` bytes of the body."""
        asked = self.asked.range
        wanted = range(len(self.data)) if asked is None else asked
        if wanted.stop > len(self.data):
            self.send(f"HTTP/1.1 416 Too far\nContent-Length: 0\nContent-Range: bytes */{len(self.data)}")
            return
        status = "200 OK"
        if asked is not None:
            status = f"206 Partial Content\nContent-Range: bytes {wanted.start}-{wanted.stop - 1}/{len(self.data)}"
        body = self.data[wanted.start : wanted.stop]
        self.send(f"HTTP/1.1 {status}\nContent-Length: {len(body)}{extra}", body if cut is None else body[:cut])

    def hold(self) -> None:
        """Say nothing more until the server ends, or the other side does."""
        self.connection.settimeout(HOLD_SECONDS)
        with suppress(OSError):
            self.connection.recv(1)

    def reset(self) -> None:
        """End the connection by RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Behaviour = Callable[[Exchange], object]  # returns True to keep the connection, anything else to close it


def good(exchange: Exchange) -> bool:
    """What a server should do."""
    exchange.good()
    return True


class Server:
    """Answers every request by `behaviour`, each connection in a thread."""

    def __init__(self, data: bytes = b"", behaviour: Behaviour = good) -> None:
        self.data = data
        self.behaviour = behaviour
        self.log: list[Asked] = []
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/file"
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def ranges(self) -> list[range | None]:
        """What was asked for."""
        return [asked.range for asked in self.log]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            with self._lock:
                self._connections.append(connection)
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as requests, suppress(OSError):
            while (line := requests.readline()) and self._answer(connection, requests, line):
                pass

    def _answer(self, connection: socket.socket, requests: BinaryIO, line: bytes) -> bool:
        headers = {}
        while (header := requests.readline()) not in {b"", b"\r\n"}:
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        words = line.decode("latin-1").split(" ")
        if len(words) != 3:  # not HTTP
            return False
        with self._lock:
            asked = Asked(len(self.log), words[1], headers)
            self.log.append(asked)
        return self.behaviour(Exchange(self, connection, asked)) is True
