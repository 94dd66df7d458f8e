"""How fast this machine reads its memory, which bounds decoding: each token reads all weights once."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from localllm.devices.cpu import usable_cores

BUFFER_BYTES = 96 * 2**20  # together for all cores: more than the last cache of most machines
BLOCK_BYTES = 4 * 2**20
FILL_SECONDS = 0.05  # fresh pages can be slow to come by; then less is read
READ_SECONDS = 0.05

Block = NDArray[np.int64]


def memory_bandwidth() -> float:
    """Bytes a second that all usable cores read together; takes 0.1 s or so.

    Each core ORs blocks of its own (`numpy.bitwise_or.reduce`: 44 GB/s a core from its cache where memory gave 17, so
    memory is what is measured). The fastest of several passes counts: other programs only slow them down. A processor
    with more cache than BUFFER_BYTES looks faster than its memory.
    """
    cores = usable_cores()
    share = max(1, BUFFER_BYTES // BLOCK_BYTES // cores)
    with ThreadPoolExecutor(cores) as pool:
        deadline = time.perf_counter() + FILL_SECONDS
        shares = list(pool.map(lambda _: _fill(share, deadline), range(cores)))
        fastest = _pass_seconds(pool, shares)
        deadline = time.perf_counter() + READ_SECONDS
        while time.perf_counter() < deadline:
            fastest = min(fastest, _pass_seconds(pool, shares))
    return sum(len(blocks) for blocks in shares) * BLOCK_BYTES / fastest


def _fill(count: int, deadline: float) -> list[Block]:
    """Up to `count` blocks, fewer when time is up. They are written: pages that never were all show the same zeros."""
    blocks = [np.ones(BLOCK_BYTES // 8, np.int64)]
    while len(blocks) < count and time.perf_counter() < deadline:
        blocks.append(np.ones(BLOCK_BYTES // 8, np.int64))
    return blocks


def _pass_seconds(pool: ThreadPoolExecutor, shares: list[list[Block]]) -> float:
    started = time.perf_counter()
    list(pool.map(_read, shares))
    return max(time.perf_counter() - started, 1e-9)


def _read(blocks: list[Block]) -> None:
    for block in blocks:
        np.bitwise_or.reduce(block)
