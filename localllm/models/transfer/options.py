"""How to fetch: connections, speed, patience."""

from msgspec import Struct

from localllm.models.transfer.retry import RetryPolicy


class FetchOptions(Struct, frozen=True, kw_only=True):
    """Choices for one file."""

    connections: int = 4  # a file of less than 8 MiB takes one
    bytes_per_second: int | None = None  # of all connections together; None: no limit
    stall_seconds: float = 30.0  # with next to nothing new, after which a connection is made anew
    retry: RetryPolicy = RetryPolicy()
