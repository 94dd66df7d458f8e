"""One connection to a server: kept open from request to request, and cut off by another thread when need be."""

import select
import socket
import ssl
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection

import httpx2

from localllm.errors import DownloadFailed
from localllm.models.transfer.address import Address
from localllm.models.transfer.proxy import Proxy, proxy_for
from localllm.models.transfer.pulse import Pulse
from localllm.models.transfer.retry import Stopped, Troubled

_CONNECT_SECONDS = 10.0  # for each address of a host


class Trust:
    """The certificates that servers are checked against, read when the first is needed."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The system's, or those of SSL_CERT_FILE. Raises DownloadFailed."""
        with self._reading:
            if self._context is None:
                try:
                    self._context = httpx2.create_ssl_context()
                    self._context.set_alpn_protocols(["http/1.1"])
                except (OSError, ValueError) as error:
                    raise DownloadFailed(f"cannot read the certificates ({error}); check SSL_CERT_FILE") from error
            return self._context


class Wire:
    """Sends requests one after the other; raises Troubled where another attempt may do better."""

    def __init__(self, trust: Trust, stall_seconds: float) -> None:
        self._trust = trust
        self._stall_seconds = stall_seconds
        self._connection: HTTPConnection | None = None
        self._origin: tuple[str, str, int] | None = None
        self._sock: socket.socket | None = None  # http.client forgets it while an answer that ends it is still read
        self._answer: HTTPResponse | None = None
        self._is_stopped = False
        self.pulse = Pulse(stall_seconds)

    def get(self, address: Address, headers: dict[str, str]) -> HTTPResponse:
        """Ask; the answer's body is still to be read. Raises Troubled, Stopped or DownloadFailed."""
        is_reused = self._connection is not None and self._origin == address.origin
        try:
            return self._ask(address, headers)
        except Troubled:
            self.close()
            if not is_reused:
                raise
            return self._ask(address, headers)  # servers close connections that were idle

    def close(self) -> None:
        """End the connection; the next request makes another."""
        answer, self._answer = self._answer, None
        connection, self._connection = self._connection, None
        self._sock = None
        if answer is not None:
            answer.close()
        if connection is not None:
            connection.close()

    def is_readable(self) -> bool:
        """Whether there are bytes that can be read without waiting."""
        sock = self._sock
        if sock is None:
            return False
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        if not hasattr(select, "poll"):  # on Windows
            return bool(select.select([sock], [], [], 0)[0])
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))

    def cut(self) -> None:
        """End what is under way; called by another thread, the one that reads gets an error."""
        sock = self._sock
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's: that one clears what a reader uses

    def stop(self) -> None:
        """Cut, and make no further connection."""
        self._is_stopped = True
        self.cut()

    def _ask(self, address: Address, headers: dict[str, str]) -> HTTPResponse:
        self.pulse.reset()
        try:
            proxy = proxy_for(address)
            connection = self._connect(address, proxy)
            is_plain_proxy = proxy is not None and address.scheme == "http"
            if is_plain_proxy and proxy is not None:
                headers = headers | proxy.headers
            with self.pulse.listening():
                connection.request("GET", address.url if is_plain_proxy else address.target, headers=headers)
                self._answer = connection.getresponse()
            return self._answer
        except ssl.SSLCertVerificationError as error:
            raise DownloadFailed(
                f"the certificate of {address.host} is not trusted ({error.verify_message}); "
                "if a proxy of yours makes it, set SSL_CERT_FILE to its certificate"
            ) from error
        except (OSError, HTTPException) as error:
            raise Troubled(self.words(error)) from error
        except ValueError as error:  # a header with an ö or a line end in it; a host name that cannot be
            raise DownloadFailed(
                f"cannot ask {address.host} ({' '.join(str(error).split())[:200]}); check HF_TOKEN and HF_ENDPOINT"
            ) from error

    def _connect(self, address: Address, proxy: Proxy | None) -> HTTPConnection:
        if self._is_stopped:
            raise Stopped
        if self._connection is not None and self._origin == address.origin:
            return self._connection
        self.close()
        host, port = (proxy.host, proxy.port) if proxy is not None else (address.host, address.port)
        seconds = min(_CONNECT_SECONDS, self._stall_seconds)
        if address.scheme == "https":
            connection: HTTPConnection = HTTPSConnection(host, port, timeout=seconds, context=self._trust.context())
            if proxy is not None:
                connection.set_tunnel(address.host, address.port, headers=proxy.headers)
        else:
            connection = HTTPConnection(host, port, timeout=seconds)
        self._connection, self._origin = connection, address.origin
        connection.connect()
        self._sock = connection.sock
        connection.sock.settimeout(self._stall_seconds)
        if self._is_stopped:  # meanwhile, when there was nothing to cut yet
            raise Stopped
        return connection

    def words(self, error: Exception) -> str:
        """What went wrong, on one line."""
        if isinstance(error, TimeoutError) or self.pulse.is_stalled:
            return f"next to nothing came for {self._stall_seconds:g} s"
        text = " ".join(str(error).split())[:200]
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
