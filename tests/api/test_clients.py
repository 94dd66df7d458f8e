"""Whose key came: scopes that cached prompts are not shared between, and who goes first."""

import httpx2
import pytest

from localllm.api.clients import Clients
from localllm.api.server import bind
from localllm.config import ClientKey
from localllm.errors import ConfigError
from localllm.types import Client
from tests.api.scripted import QUESTION, openai_client, scripted

pytestmark = pytest.mark.anyio
KEYS = {"ann": ClientKey("key-a"), "robot": ClientKey("key-b", "batch")}


@pytest.mark.parametrize(
    ("sent", "client"),
    [
        ("own", Client()),
        ("key-a", Client("ann", "interactive")),
        ("key-b", Client("robot", "batch")),
        ("key-c", None),
        ("", None),
        ("key", None),
    ],
)
def test_a_key_tells_the_client(sent: str, client: Client | None) -> None:
    assert Clients("own", KEYS).find(sent.encode()) == client


def test_with_a_shared_cache_the_scope_is_one_and_the_rank_stays() -> None:
    clients = Clients("own", KEYS, share_cache=True)
    assert clients.find(b"key-a") == Client()
    assert clients.find(b"key-b") == Client("", "batch")


def test_named_keys_alone_are_keys() -> None:
    assert Clients("", KEYS).have_keys
    assert Clients("", KEYS).find(b"") is None
    assert not Clients().have_keys
    bind("0.0.0.0", 0, Clients("", KEYS)).close()


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("", {"a": ClientKey("same"), "b": ClientKey("same")}),
        ("same", {"a": ClientKey("same")}),
        ("", {"a": ClientKey("")}),
        ("", {"a": ClientKey("key ")}),
        (" ", {}),
        ("", {"": ClientKey("key")}),
    ],
)
def test_keys_that_cannot_be(key: str, keys: dict[str, ClientKey]) -> None:
    with pytest.raises(ConfigError, match="key") as caught:
        Clients(key, keys)
    assert "same'" not in caught.value.message  # a key is never shown


async def test_the_service_learns_for_whom(http: httpx2.AsyncClient) -> None:
    async with scripted(clients=Clients("own", KEYS)) as (service, url):
        for key in ("own", "key-a", "key-b"):
            headers = {"Authorization": f"Bearer {key}"}
            for path, body in (("chat/completions", {"messages": QUESTION}), ("completions", {"prompt": "x"})):
                assert (await http.post(f"{url}/{path}", json=body, headers=headers)).status_code == 200
        assert (await http.post(f"{url}/completions", json=body, headers={"x-api-key": "other"})).status_code == 401
    expected = [Client(), Client("ann"), Client("robot", "batch")]
    assert [request.client for request in service.requests] == expected
    assert [request.client for request in service.texts] == expected


async def test_without_keys_all_are_one_client(http: httpx2.AsyncClient) -> None:
    async with scripted() as (service, url):
        await http.post(f"{url}/chat/completions", json={"messages": QUESTION}, headers={"Authorization": "Bearer any"})
    assert [request.client for request in service.requests] == [Client()]


@pytest.mark.parametrize(
    ("key", "asked", "priority", "told"),
    [
        ("key-a", "flex", "batch", "flex"),
        ("key-a", "auto", "interactive", "default"),
        ("key-a", "default", "interactive", "default"),
        ("key-a", "priority", "interactive", "default"),
        ("key-a", None, "interactive", None),
        ("key-b", "priority", "batch", "flex"),
        ("key-b", "flex", "batch", "flex"),
        ("key-b", None, "batch", None),
    ],
)
async def test_a_tier_lowers_the_rank_and_never_raises_it(
    http: httpx2.AsyncClient, key: str, asked: str | None, priority: str, told: str | None
) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    async with scripted(clients=Clients("", KEYS)) as (service, url):
        for path, body in (("chat/completions", {"messages": QUESTION}), ("completions", {"prompt": "x"})):
            fields = {**body, "service_tier": asked}
            whole = (await http.post(f"{url}/{path}", json=fields, headers=headers)).json()
            assert whole.get("service_tier") == told
            streamed = (await http.post(f"{url}/{path}", json={**fields, "stream": True}, headers=headers)).text
            count = streamed.count("data: {")
            assert streamed.count(f'"service_tier":"{told}"') == (count if told else 0)
            assert count > 1
    ranks = {request.client.priority for request in (*service.requests, *service.texts)}
    assert ranks == {priority}


async def test_the_openai_package_reads_the_tier() -> None:
    async with scripted() as (_, url), openai_client(url) as client:
        answer = await client.chat.completions.create(model="m", messages=QUESTION, service_tier="flex")
        assert answer.service_tier == "flex"


async def test_an_unknown_tier_is_refused(http: httpx2.AsyncClient, url: str) -> None:
    response = await http.post(f"{url}/chat/completions", json={"messages": QUESTION, "service_tier": "gold"})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "service_tier"
