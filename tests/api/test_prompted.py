"""Constraints and LoRA adapters: what a body asks for reaches the service, and a real worker does it."""

import json
import re
from pathlib import Path

import httpx2
import pytest

from localllm.config import Settings
from localllm.types import AdapterUse, Constraint
from tests.api.scripted import QUESTION, scripted
from tests.serving import running_server, running_service
from tests.tiny import write_tiny_adapter

pytestmark = pytest.mark.anyio
BODIES: list[tuple[str, dict[str, object]]] = [
    ("chat/completions", {"messages": QUESTION}),
    ("completions", {"prompt": "x"}),
]


async def test_what_is_asked_reaches_the_service(http: httpx2.AsyncClient) -> None:
    fields: dict[str, object] = {
        "lora": [{"name": "b"}, {"name": "a", "scale": 0.5}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}},
    }
    async with scripted() as (service, url):
        for path, body in BODIES:
            assert (await http.post(f"{url}/{path}", json={**body, **fields})).status_code == 200
            assert (await http.post(f"{url}/{path}", json=body)).status_code == 200
    for asked, plain in (service.requests, service.texts):
        assert asked.adapters == (AdapterUse("b"), AdapterUse("a", 0.5))
        assert asked.constraint == Constraint("json_schema", '{"type":"integer"}')
        assert (plain.adapters, plain.constraint) == ((), None)


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.slow
async def test_a_random_model_keeps_to_a_form(
    http: httpx2.AsyncClient, tiny_model: Path, path: str, body: dict[str, object]
) -> None:
    asked = {**body, "max_tokens": 40, "temperature": 1, "n": 3}
    schema = {
        "type": "object",
        "properties": {"a": {"enum": [1, 22]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    formats: list[dict[str, object]] = [
        {"structured_outputs": {"regex": "[ab]{3}c"}},
        {"structured_outputs": {"choice": ["yes", "no"]}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}},
    ]
    async with running_service(str(tiny_model)) as service, running_server(service) as url:
        answers = [(await http.post(f"{url}/{path}", json={**asked, **form})).json() for form in formats]
    texts = [
        [choice["message"]["content"] if "message" in choice else choice["text"] for choice in answer["choices"]]
        for answer in answers
    ]
    assert all(re.fullmatch("[ab]{3}c", text) for text in texts[0])
    assert set(texts[1]) <= {"yes", "no"}
    assert all(json.loads(text)["a"] in (1, 22) for text in texts[2])


async def test_a_form_that_cannot_be_is_refused_before_a_stream_begins(http: httpx2.AsyncClient, url: str) -> None:
    for form in ({"structured_outputs": {"regex": "("}}, {"structured_outputs": {"grammar": "start"}}):
        response = await http.post(f"{url}/chat/completions", json={"messages": QUESTION, "stream": True, **form})
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"


async def test_an_adapter_changes_the_answer_as_far_as_it_acts(
    http: httpx2.AsyncClient, tiny_model: Path, tmp_path: Path
) -> None:
    settings = Settings(lora={"mine": str(write_tiny_adapter(tmp_path / "mine.gguf"))})
    async with running_service(str(tiny_model), settings=settings) as service, running_server(service) as url:

        async def asked(*lora: dict[str, object]) -> httpx2.Response:
            body = {"prompt": "hello", "temperature": 0, "max_tokens": 8, "logprobs": 0, "ignore_eos": True}
            return await http.post(f"{url}/completions", json={**body, "lora": lora})

        plain, off, on = await asked(), await asked({"name": "mine", "scale": 0}), await asked({"name": "mine"})
        wrong = await asked({"name": "other"})
    logprobs = [response.json()["choices"][0]["logprobs"]["token_logprobs"] for response in (plain, off, on)]
    assert logprobs[1] == pytest.approx(logprobs[0], abs=1e-3)  # its prompt was cached: another batch, other rounding
    assert logprobs[2] != pytest.approx(logprobs[0], abs=1e-3)
    assert wrong.status_code == 400
    assert wrong.json()["error"]["param"] == "lora"
    assert "there is: mine" in wrong.json()["error"]["message"]
