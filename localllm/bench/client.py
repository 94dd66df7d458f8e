"""One streamed chat request to an OpenAI-compatible server, with the time of every delta."""

import time
from collections.abc import AsyncGenerator

import httpx2
import msgspec
from msgspec import Struct

from localllm.errors import RemoteError


class Target(Struct, frozen=True, kw_only=True):
    """A server to measure. `extra` goes into every request body."""

    name: str
    url: str  # base URL, ending in /v1
    model: str
    extra: dict[str, object] = {}


class Sample(Struct, frozen=True, kw_only=True):
    """What one request brought. Times are of `time.perf_counter`."""

    start: float
    arrivals: list[float]  # of every delta with text
    completion_tokens: int
    text: str = ""

    @property
    def first_token_seconds(self) -> float:
        """From sending the request to the first text."""
        return self.arrivals[0] - self.start

    @property
    def gaps(self) -> list[float]:
        """Seconds between deltas."""
        return [after - before for before, after in zip(self.arrivals, self.arrivals[1:], strict=False)]


class Recording(Struct):
    """An answer while it streams; what has come is kept if the request is cancelled."""

    start: float = 0.0  # when the request was sent; 0 before that
    arrivals: list[float] = []
    pieces: list[str] = []
    completion_tokens: int = 0  # as the server counts, known at the end


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(Struct):
    delta: _Delta | None = None


class _Usage(Struct):
    completion_tokens: int = 0


class _Chunk(Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


async def ask(client: httpx2.AsyncClient, target: Target, messages: list[dict[str, str]], tokens: int) -> Sample:
    """One greedy answer of up to `tokens` tokens. Raises RemoteError."""
    heard = Recording()
    await record(client, target, messages, tokens, heard)
    return Sample(
        start=heard.start,
        arrivals=heard.arrivals,
        completion_tokens=heard.completion_tokens or len(heard.arrivals),
        text="".join(heard.pieces),
    )


async def record(
    client: httpx2.AsyncClient, target: Target, messages: list[dict[str, str]], tokens: int, into: Recording
) -> None:
    """The same answer, told piece by piece. Raises RemoteError."""
    body = {
        "model": target.model,
        "messages": messages,
        "max_tokens": tokens,
        "temperature": 0,
        "repeat_penalty": 1.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **target.extra,
    }
    into.start = time.perf_counter()
    async for chunk in _chunks(client, target, body):
        if chunk.usage:
            into.completion_tokens = chunk.usage.completion_tokens
        deltas = [choice.delta for choice in chunk.choices if choice.delta]
        text = "".join((delta.reasoning_content or "") + (delta.content or "") for delta in deltas)
        if text:
            into.arrivals.append(time.perf_counter())
            into.pieces.append(text)
    if not into.arrivals:
        raise RemoteError(f"{target.name} answered without any text")


async def find_target(text: str) -> Target:
    """The server that [NAME=]URL means, which runs already, with the first model it lists. Raises RemoteError."""
    name, is_named, url = text.partition("=")
    url = (url if is_named else text).rstrip("/")
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await first_target(client, name if is_named else url, url)


async def first_target(client: httpx2.AsyncClient, name: str, url: str) -> Target:
    """The first model a server lists, its answers running to their full length. Raises RemoteError."""
    return Target(name=name, url=url, model=await first_model(client, url), extra={"ignore_eos": True})


async def first_model(client: httpx2.AsyncClient, url: str) -> str:
    """Id of the first model a server lists. Raises RemoteError."""

    class Model(Struct):
        id: str

    class Models(Struct):
        data: list[Model]

    try:
        response = await client.get(f"{url}/models")
        return msgspec.json.decode(response.content, type=Models).data[0].id
    except (httpx2.HTTPError, msgspec.MsgspecError, IndexError) as error:
        raise RemoteError(f"{url}/models: {error}; is the server running?") from error


async def _chunks(client: httpx2.AsyncClient, target: Target, body: dict[str, object]) -> AsyncGenerator[_Chunk, None]:
    try:
        async with client.stream(
            "POST",
            f"{target.url}/chat/completions",
            content=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"},
        ) as response:
            if response.status_code != 200:
                words = (await response.aread()).decode("utf-8", "replace")[:300]
                raise RemoteError(f"{target.name} answered {response.status_code}: {words}")
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or data == "[DONE]":
                    continue
                chunk = _decode(data)
                if chunk.error is not None:
                    raise RemoteError(f"{target.name} failed: {bytes(chunk.error).decode()[:300]}")
                yield chunk
    except (httpx2.HTTPError, msgspec.MsgspecError) as error:
        raise RemoteError(f"{target.name}: {type(error).__name__}: {error}") from error
