"""`localllm serve` as users start it: refusals, signals, kills."""

import asyncio
import json
import os
import signal
import socket
import time

import httpx2
import psutil
import pytest

from tests.marks import slow
from tests.processes import Done, ServerProcess, localllm, serving

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def chat(url: str, text: str, **fields: object) -> httpx2.Response:
    body = {"messages": [{"role": "user", "content": text}], **fields}
    return httpx2.post(f"{url}/chat/completions", json=body, timeout=60, trust_env=False)


def refused(*options: str, **environment: str) -> Done:
    return localllm("serve", *options, environment=os.environ | environment)


def test_an_open_address_without_a_key_is_refused_in_one_line() -> None:
    result = refused("--model", "echo", "--host", "0.0.0.0")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "LOCALLLM_API_KEY" in result.stderr


@pytest.mark.slow
def test_a_taken_port_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = refused("--model", "echo", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "--port" in result.stderr


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_it_in_one_line(tmp_path: "os.PathLike[str]") -> None:
    bad = os.path.join(tmp_path, "bad.gguf")
    with open(bad, "wb") as file:
        file.write(b"GGUF" + bytes(100))
    result = refused("--model", bad, "--port", "0")
    assert result.returncode == 5
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_key_is_taken_from_the_environment() -> None:
    with serving("--model", "echo", LOCALLLM_API_KEY="k") as server:
        assert chat(server.url, "hi").status_code == 401
        with httpx2.Client(headers={"Authorization": "Bearer k"}, trust_env=False) as client:
            assert client.get(f"{server.url}/models").status_code == 200
        assert "API_KEY" not in "".join(server.worker.environ())


def test_each_client_has_a_key_and_the_worker_none() -> None:
    keys = json.dumps({"ann": {"key": "key-a"}, "robot": {"key": "key-b", "priority": "batch"}})
    with serving("--model", "echo", "--parallel", "auto", "--max-queue", "3", LOCALLLM_KEYS=keys) as server:
        assert chat(server.url, "hi").status_code == 401
        for key, tier in (("key-a", "default"), ("key-b", "flex")):
            headers = {"Authorization": f"Bearer {key}"}
            body = {"messages": [{"role": "user", "content": "hi"}], "service_tier": "auto"}
            with httpx2.Client(headers=headers, trust_env=False) as client:
                assert client.post(f"{server.url}/chat/completions", json=body).json()["service_tier"] == tier
        assert "key-a" not in "".join(server.worker.environ().values())


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (("--parallel", "many"), {}, "--parallel"),
        (("--lora", "pirate"), {}, "--lora"),
        (("--lora", "pirate=/nowhere.gguf"), {}, "pirate"),
        ((), {"LOCALLLM_KEYS": '{"a": {"key": "x"}, "b": {"key": "x"}}'}, "same key"),
    ],
)
@pytest.mark.slow
def test_wrong_settings_are_refused_in_one_line(
    options: tuple[str, ...], environment: dict[str, str], words: str
) -> None:
    result = refused("--model", "echo", "--port", "0", *options, **environment)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


@POSIX
@pytest.mark.parametrize("name", ["SIGTERM", slow("SIGINT")])
def test_a_signal_lets_running_answers_end(name: str) -> None:
    with serving("--model", "echo:50") as server:
        with httpx2.stream(
            "POST",
            f"{server.url}/chat/completions",
            json={"messages": [{"role": "user", "content": "x" * 60}], "stream": True},
            trust_env=False,
            timeout=30,
        ) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(getattr(signal, name))
            rest = list(lines)
        assert rest[-2] == "data: [DONE]"
        assert sum('"content":"x' in line for line in rest) > 20
        assert server.process.wait(timeout=10) == 0


@POSIX
@pytest.mark.slow
def test_no_worker_outlives_a_killed_server() -> None:
    with serving("--model", "echo:20") as server:
        worker = server.worker
        server.process.kill()
        worker.wait(timeout=5)


async def load(server: ServerProcess, stop: asyncio.Event, outcomes: list[str]) -> None:
    """Requests one after another, streaming and not, until told to stop; records how each ended."""
    count = 0
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        while not stop.is_set():
            count += 1
            body = {"messages": [{"role": "user", "content": "hello " * 8}], "max_tokens": 30, "stream": count % 2 == 0}
            response = await client.post(f"{server.url}/chat/completions", json=body)
            if response.status_code == 200 and (not body["stream"] or response.text.endswith("data: [DONE]\n\n")):
                outcomes.append("ok")
            elif response.status_code == 200:
                last = response.text.strip().split("\n\n")[-1].removeprefix("data: ")
                outcomes.append(json.loads(last)["error"]["code"])
            else:
                outcomes.append(response.json()["error"]["code"])


async def kill_workers(server: ServerProcess, times: int) -> list[str]:
    """Kill the worker again and again under load of 6 clients; returns how every request ended."""
    stop, outcomes = asyncio.Event(), list[str]()
    clients = [asyncio.create_task(load(server, stop, outcomes)) for _ in range(6)]
    try:
        for _ in range(times):
            seen = outcomes.count("ok")
            while outcomes.count("ok") < seen + 6:  # so that the worker of this round has really answered
                assert not any(client.done() for client in clients), [c.exception() for c in clients if c.done()]
                await asyncio.sleep(0.02)
            server.worker.kill()
    finally:
        stop.set()
        await asyncio.gather(*clients)
    return outcomes


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("model", ["echo:100", pytest.param("starter", marks=pytest.mark.real_model)])
def test_the_worker_killed_ten_times_under_load(model: str, request: pytest.FixtureRequest) -> None:
    environment = {}
    if model == "starter":
        environment["LOCALLLM_HOME"] = str(request.getfixturevalue("starter_home"))
        model = "smollm2:135m"
    with serving("--model", model, "--parallel", "6", "--context", "512", **environment) as server:
        pid = server.process.pid
        outcomes = asyncio.run(kill_workers(server, 10))
        assert server.process.poll() is None
        assert psutil.pid_exists(pid)
        assert set(outcomes) <= {"ok", "worker_died"}
        assert outcomes.count("worker_died") >= 10
        assert outcomes.count("ok") >= 10
        began = time.monotonic()
        assert chat(server.url, "still there?", max_tokens=5).status_code == 200
        assert time.monotonic() - began < 10
