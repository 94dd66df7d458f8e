"""An answer as the endpoints that prompt a model give it: whole, or as a stream of chunks in the endpoint's shape."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from localllm.api.answers import Events, WholeChoice, begin, collect
from localllm.api.errors import encode_error, error_body
from localllm.api.openai.prompted import PromptedFields
from localllm.api.openai.replies import UsageObject
from localllm.api.sse import DONE, EventStream, comment, event
from localllm.errors import LocalLLMError
from localllm.types import Finished, Queued, TextDelta, Usage


class ChunkWriter(Protocol):
    """The chunks of one stream, each a whole event."""

    def opening(self) -> Iterable[bytes]:
        """What comes before any text."""
        ...

    def delta(self, item: TextDelta) -> bytes:
        """More text of a choice."""
        ...

    def end(self, item: Finished) -> bytes:
        """The finish reason of a choice."""
        ...

    def usage(self, usage: UsageObject) -> bytes:
        """The chunk without choices."""
        ...


async def respond(
    request: Request,
    body: PromptedFields,
    events: Events,
    writer: ChunkWriter,
    whole: Callable[[list[WholeChoice]], msgspec.Struct],
) -> Response | EventStream:
    """The answer, streaming or whole, as the body asks."""
    if body.stream:
        begun = await begin(events, request.receive)
        return EventStream(chunks(begun, writer, choices=body.n, include_usage=body.wants_usage))
    answer = await collect(events, body.n, request.receive)
    return Response(msgspec.json.encode(whole(answer)), media_type="application/json")


async def chunks(
    events: Events, writer: ChunkWriter, *, choices: int, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The stream: the opening, text, for each choice a chunk with its finish reason, usage when asked for, [DONE].
    Comments say how many wait before.

    An error after the beginning is an event with `error`, and the stream ends without [DONE].
    """
    for chunk in writer.opening():
        yield chunk
    costs: dict[int, Usage] = {}
    try:
        async with aclosing(events):
            async for item in events:
                if isinstance(item, Queued):
                    yield comment(f"queue position {item.position}")
                elif isinstance(item, TextDelta):
                    yield writer.delta(item)
                elif isinstance(item, Finished):
                    costs[item.choice] = item.usage
                    yield writer.end(item)
        usage = UsageObject.of([costs[choice] for choice in range(choices)])
        yield (writer.usage(usage) if include_usage else b"") + DONE
    except LocalLLMError as error:
        yield event(encode_error(error_body(error)))
