"""Who may ask: names of this machine, no foreign pages, and the key."""

import asyncio
import socket

import httpx2
import pytest

from localllm.api.clients import Clients
from localllm.api.server import bind
from localllm.errors import ConfigError
from tests.serving import running_server, running_service

pytestmark = pytest.mark.anyio
KEY = "sécret-key"


async def get(http: httpx2.AsyncClient, url: str, **headers: str) -> int:
    return (await http.get(f"{url}/models", headers=headers)).status_code


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "localhost.", "127.0.0.1", "127.0.0.1:11500", "[::1]", "[::1]:8080", "127.9.9.9"],
)
async def test_names_of_this_machine(http: httpx2.AsyncClient, url: str, host: str) -> None:
    assert await get(http, url, Host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.com",
        "evil.com:11500",
        "127.0.0.1.evil.com",
        "localhost.evil.com",
        "",
        "localhost:99999",
        "localhost:0",
        "0.0.0.0",
        "2130706433",
        "127.1",
        "user@localhost",
        "localhost/x",
        "localhost?x",
        "localhost#x",
        "192.168.1.5",
        "[::2]",
        "localhost\tx",
    ],
)
async def test_other_names_are_refused(http: httpx2.AsyncClient, url: str, host: str) -> None:
    assert await get(http, url, Host=host) == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:11500", 200),
        ("http://localhost:3000", 200),
        ("https://evil.com", 403),
        ("http://localhost.evil.com", 403),
        ("null", 403),
        ("", 403),
        ("file://", 403),
    ],
)
async def test_origins(http: httpx2.AsyncClient, url: str, origin: str, status: int) -> None:
    assert await get(http, url, Origin=origin) == status


async def test_a_page_of_another_site_cannot_make_the_browser_ask(http: httpx2.AsyncClient, url: str) -> None:
    assert await get(http, url, **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert await get(http, url, **{"Sec-Fetch-Site": "same-origin"}) == 200


async def test_two_hosts_are_refused(url: str) -> None:
    port = httpx2.URL(url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n")
    assert (await reader.readline()).split()[1] in (b"421", b"400")
    writer.close()
    await writer.wait_closed()


async def test_no_answer_carries_a_cors_permission(http: httpx2.AsyncClient, url: str) -> None:
    for origin in ("http://localhost:3000", "https://evil.com"):
        response = await http.get(f"{url}/models", headers={"Origin": origin})
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_with_a_key_every_route_but_health_wants_it(http: httpx2.AsyncClient) -> None:
    async with running_service("echo") as service, running_server(service, key=KEY) as url:
        sent = KEY.encode().decode("latin-1")
        for headers in (
            {},
            {"Authorization": ""},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {sent}"},
            {"Authorization": "Bearer \xff\xfe"},
            {"x-api-key": "wrong"},
        ):
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            for method, path in (("GET", "models"), ("POST", "chat/completions"), ("GET", "nothing")):
                response = await http.request(method, f"{url}/{path}", headers=raw)
                assert response.status_code == 401
                assert response.json()["error"]["type"] == "authentication_error"
        for name, value in (
            ("Authorization", f"Bearer {sent}"),
            ("authorization", f"bearer {sent}"),
            ("x-api-key", sent),
        ):
            response = await http.get(f"{url}/models", headers=[(name.encode(), value.encode("latin-1"))])
            assert response.status_code == 200
        assert (await http.get(url.removesuffix("/v1") + "/health")).status_code == 200


async def test_with_a_key_the_name_does_not_matter(http: httpx2.AsyncClient) -> None:
    async with running_service("echo") as service, running_server(service, key="k") as url:
        assert await get(http, url, Host="my-machine.lan", Authorization="Bearer k") == 200
        assert await get(http, url, Host="my-machine.lan", Authorization="Bearer k", Origin="https://evil.com") == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_an_open_address_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="LOCALLLM_API_KEY"):
        bind(host, 0, Clients())


def test_a_taken_port_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}"):
            bind("127.0.0.1", port, Clients())
