"""POST /v1/embeddings: the forms of the input, the forms of the answer, and what is refused."""

import asyncio
import base64
import struct
from pathlib import Path

import httpx2
import pytest

from localllm.api.clients import Clients
from localllm.config import ClientKey
from localllm.errors import InvalidRequest
from localllm.types import Client, Embeddings
from tests.api.scripted import openai_client, scripted
from tests.serving import running_server, running_service

pytestmark = pytest.mark.anyio
VECTORS = ((0.6, -0.8, 0.0), (0.0, 0.0, 1.0))
PACKED = tuple(struct.pack("<3f", *vector) for vector in VECTORS)
FOUND = Embeddings(vectors=PACKED, prompt_tokens=7)
TWO = ["one", "two"]


@pytest.mark.parametrize(
    ("sent", "inputs"),
    [
        ("text", ("text",)),
        (TWO, ("one", "two")),
        ([1, 2, 3], ((1, 2, 3),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        (["x"] * 2048, ("x",) * 2048),
    ],
)
async def test_the_four_forms_of_the_input(http: httpx2.AsyncClient, sent: object, inputs: tuple[object, ...]) -> None:
    async with scripted() as (service, url):
        service.embeddings = FOUND
        response = await http.post(f"{url}/embeddings", json={"input": sent, "user": "u", "model": "m"})
    assert response.status_code == 200
    assert service.embeds[0].inputs == inputs
    assert service.embeds[0].model == "m"


async def test_numbers_or_base64(http: httpx2.AsyncClient) -> None:
    async with scripted() as (service, url):
        service.embeddings = FOUND
        plain = (await http.post(f"{url}/embeddings", json={"input": TWO, "dimensions": 3})).json()
        coded = (await http.post(f"{url}/embeddings", json={"input": TWO, "encoding_format": "base64"})).json()
    assert {name: plain[name] for name in ("object", "model", "usage")} == {
        "object": "list",
        "model": "fake:1b",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert [(entry["object"], entry["index"]) for entry in plain["data"]] == [("embedding", 0), ("embedding", 1)]
    assert [struct.pack("<3f", *entry["embedding"]) for entry in plain["data"]] == list(PACKED)
    assert [base64.b64decode(entry["embedding"]) for entry in coded["data"]] == list(PACKED)


async def test_the_openai_package_reads_both() -> None:
    async with scripted() as (service, url), openai_client(url) as client:
        service.embeddings = FOUND
        for answer in (
            await client.embeddings.create(model="m", input=TWO),
            await client.embeddings.create(model="m", input=TWO, encoding_format="float"),
        ):
            assert [entry.embedding for entry in answer.data] == [pytest.approx(vector) for vector in VECTORS]
            assert answer.usage.total_tokens == 7


async def test_the_service_learns_for_whom(http: httpx2.AsyncClient) -> None:
    async with scripted(clients=Clients("", {"robot": ClientKey("k", "batch")})) as (service, url):
        service.embeddings = FOUND
        await http.post(f"{url}/embeddings", json={"input": "x"}, headers={"Authorization": "Bearer k"})
        assert (await http.post(f"{url}/embeddings", json={"input": "x"})).status_code == 401
    assert [request.client for request in service.embeds] == [Client("robot", "batch")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": "x", "dimensions": 2}, "dimensions"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "x", "prompt": "y"}, "prompt"),
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": ["x", ""]}, "input"),
        ({"input": ["x", 1]}, "input"),
        ({"input": ["x", [1]]}, "input"),
        ({"input": [-1]}, "input[0]"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": {"x": 1}}, "input"),
    ],
)
async def test_what_is_refused(http: httpx2.AsyncClient, fields: dict[str, object], param: str) -> None:
    async with scripted() as (service, url):
        service.embeddings = FOUND
        response = await http.post(f"{url}/embeddings", json=fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_an_error_of_the_service(http: httpx2.AsyncClient) -> None:
    async with scripted() as (service, url):
        service.embeddings = InvalidRequest("this model makes no embeddings", param="model")
        response = await http.post(f"{url}/embeddings", json={"input": "x"})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"


async def test_vectors_of_a_real_worker(http: httpx2.AsyncClient, url: str) -> None:
    """The echo engine counts bytes."""
    body = (await http.post(f"{url}/embeddings", json={"input": ["aab", "ab" * 8, "zz"]})).json()
    assert body["usage"]["prompt_tokens"] >= 21
    first, second, third = (entry["embedding"] for entry in body["data"])
    assert len(first) == 256
    assert [sum(x * x for x in vector) for vector in (first, second, third)] == pytest.approx([1, 1, 1])
    assert first[ord("a")] == pytest.approx(2 / 5**0.5)
    assert sum(x * y for x, y in zip(first, second, strict=True)) == pytest.approx(3 / 10**0.5)
    assert sum(x * y for x, y in zip(first, third, strict=True)) == 0
    too_long = await http.post(f"{url}/embeddings", json={"input": ["x", "y" * 9000]})
    assert too_long.status_code == 400
    assert too_long.json()["error"]["param"] == "input"


@pytest.mark.slow
async def test_a_model_that_only_chats_says_so(http: httpx2.AsyncClient, tiny_model: Path) -> None:
    async with running_service(str(tiny_model)) as service, running_server(service) as url:
        response = await http.post(f"{url}/embeddings", json={"input": "x"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "model"
    assert "no embeddings" in error["message"]


async def test_a_client_that_leaves_cancels_the_call(http: httpx2.AsyncClient) -> None:
    async with scripted() as (service, url):
        service.embeddings = cancelled = asyncio.Event()
        with pytest.raises(httpx2.ReadTimeout):
            await http.post(f"{url}/embeddings", json={"input": "x"}, timeout=0.2)
        await asyncio.wait_for(cancelled.wait(), 5)
