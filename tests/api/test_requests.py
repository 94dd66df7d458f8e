"""Bodies: whole answers, and 40 ways to be wrong, each with a clear answer and nothing lost."""

import json

import httpx2
import pytest

from localllm.api.body import MAX_BODY_BYTES

pytestmark = pytest.mark.anyio
HEADERS = {"Content-Type": "application/json"}
MESSAGES = [{"role": "user", "content": "hi"}]


def chat(**fields: object) -> dict[str, object]:
    return {"messages": MESSAGES, **fields}


async def post(http: httpx2.AsyncClient, url: str, body: object, path: str = "chat/completions") -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await http.post(f"{url}/{path}", content=content, headers=HEADERS)


async def test_a_whole_answer(http: httpx2.AsyncClient, url: str) -> None:
    response = await post(http, url, chat(model="echo"))
    assert response.status_code == 200
    body = response.json()
    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert body["usage"]["total_tokens"] == 5
    assert body["id"].startswith("chatcmpl-")
    assert body["model"] == "echo"


async def test_a_whole_completion(http: httpx2.AsyncClient, url: str) -> None:
    body = (await post(http, url, {"prompt": "hello"}, "completions")).json()
    assert body["object"] == "text_completion"
    assert body["choices"] == [{"text": "hello", "finish_reason": "stop", "index": 0, "logprobs": None}]


@pytest.mark.parametrize("prompt", ["ab", ["ab"], [97, 98, 256], [[97, 98, 256]]])
async def test_the_four_forms_of_a_prompt(http: httpx2.AsyncClient, url: str, prompt: object) -> None:
    response = await post(http, url, {"prompt": prompt}, "completions")
    assert response.json()["choices"][0]["text"] == "ab"


async def test_completions_default_to_sixteen_tokens(http: httpx2.AsyncClient, url: str) -> None:
    choice = (await post(http, url, {"prompt": "x" * 40}, "completions")).json()["choices"][0]
    assert choice == {"text": "x" * 16, "finish_reason": "length", "index": 0, "logprobs": None}


async def test_without_a_model_the_default_answers(http: httpx2.AsyncClient, url: str) -> None:
    assert (await post(http, url, chat())).json()["model"] == "echo"


async def test_parts_and_developer_messages(http: httpx2.AsyncClient, url: str) -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
    ]
    response = await post(http, url, {"messages": messages})
    assert response.json()["choices"][0]["message"]["content"] == "one two"


async def test_a_client_may_send_back_what_it_got(http: httpx2.AsyncClient, url: str) -> None:
    message = (await post(http, url, chat())).json()["choices"][0]["message"]
    response = await post(http, url, {"messages": [*MESSAGES, message, *MESSAGES]})
    assert response.status_code == 200


async def test_fields_without_meaning_here_are_accepted(http: httpx2.AsyncClient, url: str) -> None:
    body = chat(
        user="u", metadata={"a": "b"}, store=True, service_tier="auto", seed=1, n=1, tools=[], logprobs=False,
        response_format={"type": "text"}, tool_choice="auto", stop=None, max_tokens=None, top_logprobs=0,
        stream_options=None, prompt_cache_key="k", safety_identifier="s", parallel_tool_calls=True,
    )  # fmt: skip
    assert (await post(http, url, body)).status_code == 200


async def test_sampling_fields_reach_the_engine(http: httpx2.AsyncClient, url: str) -> None:
    async def text(content: str, **fields: object) -> str:
        body = {"messages": [{"role": "user", "content": content}], **fields}
        return str((await post(http, url, body)).json()["choices"][0]["message"]["content"])

    assert await text("abcdef", max_tokens=2) == "ab"
    assert await text("abcdef", max_completion_tokens=3) == "abc"
    assert await text("abcdef", stop="d") == "abc"
    assert await text("abcdef", stop=["f", "cd"]) == "ab"
    assert await text("abcdef", logit_bias={"122": 100.0}, max_tokens=1, temperature=0) in ("a", "z")
    assert await text("aaaa", frequency_penalty=2.0, temperature=0) == "aaaa"  # 100 against 2: still the largest
    assert len(await text("ab", ignore_eos=True, max_tokens=5, temperature=0)) >= 2


WRONG: list[tuple[object, str | None]] = [  # body, the field that is named
    (b"", None),
    (b"{", None),
    (b"[]", None),
    (b'"text"', None),
    (b"null", None),
    (b"\xff\xfe", None),
    (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', None),
    (b"[" * 100_000, None),
    (b'{"messages": ' + b"[" * 50_000, None),
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": "x", "extra": 1}]}, "messages[0].extra"),
    (chat(extra=1), "extra"),
    (chat(temperature=2.1), "temperature"),
    (chat(temperature=-0.1), "temperature"),
    (chat(temperature="hot"), "temperature"),
    (chat(top_p=1.5), "top_p"),
    (chat(top_k=-1), "top_k"),
    (chat(max_tokens=0), "max_tokens"),
    (chat(max_tokens=1.5), "max_tokens"),
    (chat(max_tokens=2**40), "max_tokens"),
    (chat(max_tokens=1, max_completion_tokens=2), "max_tokens"),
    (chat(frequency_penalty=3), "frequency_penalty"),
    (chat(seed=-1), "seed"),
    (chat(seed=2**70), "seed"),
    (chat(stop=""), "stop"),
    (chat(stop=["a"] * 5), "stop"),
    (chat(stop=[1]), "stop[0]"),
    (chat(logit_bias={"a": 1}), "logit_bias"),
    (chat(logit_bias={"-1": 1}), "logit_bias"),
    (chat(logit_bias={"99999": 1}), "logit_bias"),
    (chat(logit_bias={"5": 101}), "logit_bias[...]"),
    (chat(logit_bias={str(i): 1 for i in range(301)}), "logit_bias"),
    (chat(n=5), "n"),
    (chat(n=True), "n"),
    (chat(logprobs=1), "logprobs"),
    (chat(top_logprobs=1), "top_logprobs"),
    (chat(lora=[{"name": "x"}]), "lora"),
    (chat(lora=[{"scale": 1}]), "lora[0].name"),
    (chat(lora=[{"name": "x", "scale": -1}]), "lora[0].scale"),
    (chat(lora=[{"id": 0}]), "lora[0].id"),
    (chat(tools=[{"type": "function"}]), "tools"),
    (chat(tool_choice="required"), "tool_choice"),
    (chat(response_format={"type": "xml"}), "response_format.type"),
    (chat(response_format={"type": "json_schema"}), "response_format.json_schema"),
    (chat(response_format={"type": "json_object"}, structured_outputs={"regex": "a"}), "structured_outputs"),
    (chat(modalities=["audio"]), "modalities"),
    (chat(stream="yes"), "stream"),
    (chat(stream_options={"include_usage": True}), "stream_options"),
    (chat(stream=True, stream_options={"x": 1}), "stream_options.x"),
    (chat(model=5), "model"),
]


@pytest.mark.parametrize(("body", "param"), WRONG)
async def test_wrong_bodies(http: httpx2.AsyncClient, url: str, body: object, param: str | None) -> None:
    response = await post(http, url, body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]
    assert len(error["message"]) < 400
    assert (await http.get(url.removesuffix("/v1") + "/health")).json()["status"] == "ok"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [999999]}, "prompt"),
        ({"prompt": "x", "echo": True}, "echo"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "best_of": 3}, "best_of"),
        ({"prompt": "x", "messages": []}, "messages"),
    ],
)
async def test_wrong_completion_bodies(http: httpx2.AsyncClient, url: str, body: object, param: str | None) -> None:
    response = await post(http, url, body, "completions")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_an_unknown_model_is_a_404_that_names_the_known_ones(http: httpx2.AsyncClient, url: str) -> None:
    response = await post(http, url, chat(model="gpt-9"))
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "echo:50" in error["message"]


async def test_a_body_too_large_is_refused(http: httpx2.AsyncClient, url: str) -> None:
    response = await post(http, url, b'{"messages": "' + b"x" * MAX_BODY_BYTES + b'"}')
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_other_media_types_are_refused(http: httpx2.AsyncClient, url: str, media_type: str) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    response = await http.post(f"{url}/chat/completions", content=json.dumps(chat()).encode(), headers=headers)
    assert response.status_code == 415


async def test_compressed_bodies_are_refused(http: httpx2.AsyncClient, url: str) -> None:
    response = await http.post(f"{url}/chat/completions", content=b"x", headers={**HEADERS, "Content-Encoding": "gzip"})
    assert response.status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models/echo", 405),
    ],
)
async def test_other_routes(http: httpx2.AsyncClient, url: str, method: str, path: str, status: int) -> None:
    headers = HEADERS if method == "POST" else {}
    response = await http.request(method, url.removesuffix("/v1") + path, headers=headers)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_models(http: httpx2.AsyncClient, url: str) -> None:
    body = (await http.get(f"{url}/models")).json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["echo", "echo:50"]
    assert body["data"][0] == (await http.get(f"{url}/models/echo")).json()
    assert set(body["data"][0]) == {"id", "object", "created", "owned_by", "localllm"}
    assert body["data"][0]["localllm"]["fallbacks"] == []
    assert (await http.get(f"{url}/models/nope")).status_code == 404


async def test_health(http: httpx2.AsyncClient, url: str) -> None:
    body = (await http.get(url.removesuffix("/v1") + "/health")).json()
    assert body["status"] == "ok"
    assert set(body["models"]) == {"echo", "echo:50"}
