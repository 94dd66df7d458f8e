"""Slots: one run of neighbours, and the KV that is already there."""

import random
from array import array

import pytest

from localllm.engines.echo import EchoTokenizer
from localllm.engines.job import Job
from localllm.inference.sequence import Sequence
from localllm.inference.slots import COPY_WORTH_TOKENS, Placement, SlotTable, common_prefix
from localllm.types import Sampling


def sequence(tokens: list[int]) -> Sequence:
    return Sequence(Job(id=1, tokens=tuple(tokens), sampling=Sampling()), EchoTokenizer(), 4096)


def occupy(table: SlotTable, tokens: list[int]) -> Sequence:
    """Place, take, and pretend that the whole prompt is in KV."""
    taken = sequence(tokens)
    placement = table.place(taken.tokens)
    assert placement is not None
    taken.admit(placement.slot, placement.tokens)
    table.take(taken)
    taken.position = len(tokens)
    return taken


@pytest.mark.parametrize(
    ("left", "right", "shared"),
    [([], [1], 0), ([1, 2, 3], [1, 2, 3], 3), ([1, 2, 3], [1, 2], 2), ([1, 2, 3], [1, 9, 3], 1), ([5], [6], 0)],
)
def test_common_prefix(left: list[int], right: list[int], shared: int) -> None:
    assert common_prefix(array("i", left), array("i", right)) == shared


def test_jobs_are_packed_from_the_first_slot() -> None:
    table = SlotTable(4)
    assert [occupy(table, [i, i, i]).slot for i in range(4)] == [0, 1, 2, 3]
    assert table.place(array("i", [9])) is None


def test_a_gap_is_filled_first() -> None:
    table = SlotTable(8)
    running = [occupy(table, [i, i, i]) for i in range(5)]
    table.release(running[2])
    assert occupy(table, [7, 7]).slot == 2


def test_a_lone_chat_goes_back_to_its_own_slot() -> None:
    table = SlotTable(4)
    first, second = occupy(table, [1, 1, 1, 1]), occupy(table, [2, 2, 2, 2])
    table.release(first)
    table.release(second)
    assert table.place(array("i", [2, 2, 2, 2, 5])) == Placement(1, 1, 4)
    assert table.place(array("i", [1, 1, 1, 1, 5])) == Placement(0, 0, 4)


def test_one_token_is_always_left_to_decode() -> None:
    table = SlotTable(2)
    table.release(occupy(table, [1, 2, 3]))
    assert table.place(array("i", [1, 2, 3])) == Placement(0, 0, 2)


def test_a_new_prompt_spares_the_slot_of_another_chat() -> None:
    table = SlotTable(2)
    table.release(occupy(table, [1, 1, 1]))
    assert table.place(array("i", [2, 2])) == Placement(1, 1, 0)


def test_without_an_empty_slot_the_oldest_of_equals_is_overwritten() -> None:
    table = SlotTable(2)
    first, second = occupy(table, [1, 1, 1]), occupy(table, [2, 2, 2])
    table.release(second)
    table.release(first)
    placement = table.place(array("i", [9]))
    assert placement is not None
    assert placement.slot == second.slot


def test_a_long_prefix_elsewhere_is_copied_next_to_the_running_ones() -> None:
    table = SlotTable(6)
    shared = list(range(COPY_WORTH_TOKENS + 10))
    running = [occupy(table, [i + 1000] * 3) for i in range(3)]
    far = occupy(table, shared)
    for done in (running[1], running[2], far):
        table.release(done)
    placement = table.place(array("i", [*shared, 5]))  # slot 0 runs, so slot 1 is next to it
    assert placement == Placement(1, 3, len(shared))


def test_a_running_job_shares_its_prefix() -> None:
    table = SlotTable(3)
    shared = list(range(COPY_WORTH_TOKENS + 1))
    occupy(table, [*shared, 1])
    assert table.place(array("i", [*shared, 2])) == Placement(1, 0, len(shared))


def test_running_slots_stay_one_run_whatever_comes_and_goes() -> None:
    source = random.Random(2)
    table, running = SlotTable(8), list[Sequence]()
    for _ in range(4000):
        if running and (len(running) == 8 or source.random() < 0.5):
            table.release(running.pop(source.randrange(len(running))))
            continue
        before = sorted(s.slot for s in running)
        running.append(occupy(table, [source.randrange(4) for _ in range(source.randrange(1, 6))]))
        slot = running[-1].slot
        assert slot not in before
        if before:
            assert before[0] - 1 <= slot <= before[-1] + 1
