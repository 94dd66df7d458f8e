"""Fetching in tests: little patience, files below one folder, and what may be left of them."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

from localllm.models.digest import Digest
from localllm.models.transfer.address import Location
from localllm.models.transfer.expected import Expected
from localllm.models.transfer.fetch import fetch
from localllm.models.transfer.options import FetchOptions
from localllm.models.transfer.part import PartFile
from localllm.models.transfer.retry import RetryPolicy

SEGMENT_BYTES = 256 * 1024
LARGE_BYTES = 9 * 2**20  # several connections
HASTY = RetryPolicy(first_seconds=0.001, most_seconds=0.01)
OPTIONS = FetchOptions(retry=HASTY, stall_seconds=20.0)


def random_bytes(size_bytes: int, seed: int = 1) -> bytes:
    """Bytes that no piece of another place or seed can stand for."""
    return random.Random(seed).randbytes(size_bytes)


def expected_of(data: bytes) -> Expected:
    return Expected(size_bytes=len(data), sha256=Digest(hashlib.sha256(data).hexdigest()))


def part_of(path: Path, data: bytes) -> PartFile:
    """A part file for `data`, in small segments."""
    return PartFile(path, expected_of(data), segment_bytes=SEGMENT_BYTES)


def get(
    url: str,
    path: Path,
    data: bytes,
    options: FetchOptions = OPTIONS,
    headers: dict[str, str] | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Fetch what should be `data`; raises what the fetch raises."""
    with part_of(path, data) as part:
        fetch(lambda: Location(url=url, headers=headers or {}), part, options, on_bytes)
        assert part.is_complete
    assert path.read_bytes() == data


def assert_only_part_left(path: Path) -> None:
    """Nothing lies around but the part and its journal."""
    assert {found.name for found in path.parent.iterdir()} <= {path.name, path.name + ".map"}
