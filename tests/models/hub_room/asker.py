"""A process of its own that asks the hub: python -m tests.models.hub_room.asker URL [--offline]

Prints what it was told, or why not, and how many sockets were opened meanwhile.
"""

import sys
from collections.abc import Callable

from localllm.errors import LocalLLMError
from localllm.models.hub.address import locate
from localllm.models.hub.peek import read_beginning
from localllm.models.hub.repository import read_repository
from localllm.models.transfer.address import Location
from tests.models.hub_room.holdings import REPOSITORY, expected_of, source_of

sockets: list[str] = []


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """CPython, "Audit events table"."""
    if event.startswith("socket."):
        sockets.append(event)


def main(url: str, *, offline: bool) -> None:
    calls: dict[str, Callable[[], object]] = {
        "repository": lambda: read_repository(REPOSITORY, offline=offline).commit,
        "locate": lambda: locate(source_of("0" * 40), expected_of(), offline=offline).url,
        "peek": lambda: read_beginning(Location(url=url), 10, offline=offline),
    }
    for name, call in calls.items():
        try:
            print(name, "ok", call())
        except LocalLLMError as error:
            print(name, error.code, error.message)
    print("sockets", len(sockets))


if __name__ == "__main__":
    sys.addaudithook(watch)
    main(sys.argv[1], offline="--offline" in sys.argv)
