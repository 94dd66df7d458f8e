"""Connections: through proxies, over TLS, and kept from one request to the next."""

import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from localllm.errors import DownloadFailed
from tests.models.transfer.server import Exchange, Server, good
from tests.models.transfer.transfers import OPTIONS, get

NEEDS_OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


class TlsServer(Server):
    """The same over TLS, with a certificate for localhost alone."""

    def __init__(self, data: bytes, folder: Path) -> None:
        super().__init__(data)
        self.certificate = folder / "certificate.pem"
        key = folder / "key.pem"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ]
        command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self.url = f"https://localhost:{self.port}/file"

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), self._context.wrap_socket(connection, server_side=True) as wrapped:
            super()._serve(wrapped)


def tunnel(exchange: Exchange) -> None:
    """CONNECT: pass bytes to and fro."""
    host, _, port = exchange.asked.path.rpartition(":")
    with socket.create_connection((host, int(port))) as other:
        exchange.send("HTTP/1.1 200 Connected")
        back = threading.Thread(target=pump, args=(other, exchange.connection))
        back.start()
        pump(exchange.connection, other)
        back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for side in (source, target):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


@NEEDS_OPENSSL
def test_tls_with_a_certificate_of_ones_own(
    large: bytes, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TlsServer(large, tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        get(server.url, path, large)


@NEEDS_OPENSSL
def test_tls_through_a_proxy(large: bytes, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TlsServer(large, tmp_path) as server, Server(b"", tunnel) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")
        get(server.url, path, large, headers={"Authorization": "Bearer our-secret"})
        assert {asked.path for asked in proxy.log} == {f"localhost:{server.port}"}
        assert {asked.headers["proxy-authorization"] for asked in proxy.log} == {"Basic bWU6c2VjcmV0"}
        assert not any("authorization" in asked.headers for asked in proxy.log)
        assert not any("proxy-authorization" in asked.headers for asked in server.log)


@NEEDS_OPENSSL
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_that_is_not_trusted(
    host: str, small: bytes, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TlsServer(small, tmp_path) as server:
        if host == "127.0.0.1":  # trusted, but it is another's
            monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        with pytest.raises(DownloadFailed, match=f"certificate of {host} is not trusted.*SSL_CERT_FILE"):
            get(server.url.replace("localhost", host), path, small)


def test_a_missing_certificate_file(small: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificate.pem")
    with pytest.raises(DownloadFailed, match=r"cannot read the certificates.*check SSL_CERT_FILE"):
        get("https://127.0.0.1:9/file", path, small)


@pytest.mark.slow
def test_tls_where_there_is_none(small: bytes, path: Path) -> None:
    options = msgspec.structs.replace(OPTIONS, stall_seconds=0.2)
    with Server(small) as server, pytest.raises(DownloadFailed, match="6 attempts"):  # it waits for the line's end
        get(server.url.replace("http:", "https:"), path, small, options)


def test_a_proxy_for_plain_http(large: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(large) as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        get("http://hub.example/file?a=b", path, large)
        assert {asked.path for asked in proxy.log} == {"http://hub.example/file?a=b"}
        assert {asked.headers["host"] for asked in proxy.log} == {"hub.example"}


def test_a_host_that_needs_no_proxy(small: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with Server(small) as server:
        get(server.url, path, small)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "https://127.0.0.1:9", "http://[::1", "http://:9"])
def test_a_proxy_that_is_not_understood(proxy: str, small: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(DownloadFailed, match="the proxy in the environment"):
        get("http://hub.example/file", path, small)


def test_connections_are_kept(large: bytes, path: Path) -> None:
    ports = set()

    def answer(exchange: Exchange) -> bool:
        ports.add(exchange.connection.getpeername()[1])
        return good(exchange)

    with Server(large, answer) as server:
        get(server.url, path, large)
        assert len(server.log) == 36
    assert len(ports) <= OPTIONS.connections


def test_a_kept_connection_that_has_ended_costs_no_pause(large: bytes, path: Path) -> None:
    def answer(exchange: Exchange) -> bool:
        exchange.good()
        return False

    with Server(large, answer) as server:
        get(server.url, path, large)
        assert len(server.log) == 36


def test_a_host_without_an_address(small: bytes, path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"^nowhere\.invalid cannot deliver the file"):
        get("http://nowhere.invalid/file", path, small)
