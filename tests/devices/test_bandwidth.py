"""How fast memory is read."""

from localllm.devices import bandwidth
from localllm.devices.bandwidth import BLOCK_BYTES, memory_bandwidth


def test_it_is_what_a_computer_does() -> None:
    measured = memory_bandwidth()
    assert 1e8 < measured < 1e13  # bytes a second: even beside other programs, and with all of it in a cache


def test_something_is_read_even_when_fresh_pages_are_slow_to_come_by() -> None:
    assert len(bandwidth._fill(5, deadline=0.0)) == 1
    assert len(bandwidth._fill(3, deadline=float("inf"))) == 3


def test_the_blocks_are_written_and_not_all_the_same_page() -> None:
    (block,) = bandwidth._fill(1, deadline=0.0)
    assert block.nbytes == BLOCK_BYTES
    assert block.all()
