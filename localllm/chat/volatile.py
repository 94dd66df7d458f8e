"""Leave out what a client puts before its system prompt and changes with every request: no cached prompt would fit."""

from collections.abc import Sequence

from msgspec.structs import replace

from localllm.types import Message


def without_volatile_lines(messages: Sequence[Message], beginnings: Sequence[str]) -> tuple[Message, ...]:
    """The messages without the first lines of the first system message that begin with one of `beginnings`.

    Only lines before any other are left out, whole and with the line break that ends them; all that follows, and
    every other message, stays as it is. A message that was nothing but such lines goes. An empty beginning fits no
    line.
    """
    first = next((index for index, message in enumerate(messages) if message.role == "system"), None)
    if first is None:
        return tuple(messages)
    system = messages[first]
    content = _without_first_lines(system.content, tuple(filter(None, beginnings)))
    if content == system.content:
        return tuple(messages)
    kept = (replace(system, content=content),) if content else ()
    return (*messages[:first], *kept, *messages[first + 1 :])


def _without_first_lines(content: str, beginnings: tuple[str, ...]) -> str:
    while content.startswith(beginnings):
        _, _, content = content.partition("\n")
    return content
